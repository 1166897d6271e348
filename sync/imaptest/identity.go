package imaptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Identity is a certificate for localhost and 127.0.0.1, and the authority that
// signed it, made up for one run and valid for a day. All fields are PEM.
type Identity struct {
	CA, Cert, Key []byte

	pair tls.Certificate
}

// NewIdentity makes an identity; names are further names and addresses that the
// certificate is for.
func NewIdentity(names ...string) (*Identity, error) {
	id, err := newIdentity(append([]string{"localhost", "127.0.0.1"}, names...))
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return id, nil
}

func newIdentity(names []string) (*Identity, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	from := time.Now().Add(-time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: "mailtwin test authority"},
		NotBefore: from, NotAfter: from.Add(25 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano() + 1), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, n)
		}
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	id := &Identity{
		CA:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	id.pair, err = tls.X509KeyPair(id.Cert, id.Key)
	return id, err
}

// WriteCA writes the authority's certificate to ca.pem in dir and gives its path.
func (id *Identity) WriteCA(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("write the authority's certificate: no directory for it")
	}
	path := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(path, id.CA, 0o644); err != nil {
		return "", fmt.Errorf("write the authority's certificate: %w", err)
	}
	return path, nil
}

// Server gives a configuration that presents the certificate.
func (id *Identity) Server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{id.pair}, MinVersion: tls.VersionTLS12}
}

// Client gives a configuration that trusts the authority and no other.
func (id *Identity) Client() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(id.CA)
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}
