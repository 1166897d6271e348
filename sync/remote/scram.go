package remote

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"mailtwin/conflict/mail"
)

const scramName = "SCRAM-SHA-256"

// scram is the SASL mechanism of RFC 5802 and RFC 7677: the password does not cross
// the connection, and the server proves that it knows it, too. There is no channel
// binding, so it helps against those who listen, and is no TLS.
//
// User and password go in as they are. RFC 5802, 2.2, has them prepared by SASLprep,
// which changes nothing in ASCII, and which common servers leave out.
type scram struct {
	user, password string
	nonce          string // ours

	bare     string // what the client said first, without the GS2 header
	proof    []byte // with which the server has to end; nil until its first message came
	verified bool   // it did
}

// gs2Header says: no channel binding, and nobody else to act as (RFC 5802, 7).
const gs2Header = "n,,"

// How often a server may want the password hashed. RFC 7677, 4, asks for 4096 at least;
// one that wants millions wants to keep us busy.
const minIterations, maxIterations = 4096, 1_000_000

func newScram(user, password string) *scram {
	return &scram{user: user, password: password, nonce: rand.Text()}
}

// Start gives the client's first message.
func (c *scram) Start() (mechanism string, first []byte, err error) {
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.user)
	c.bare = "n=" + name + ",r=" + c.nonce
	return scramName, []byte(gs2Header + c.bare), nil
}

// Next answers the server's first message, and checks its last one. An error is
// mail.ErrUntrusted: no server that knows the password gives a reason for one.
func (c *scram) Next(challenge []byte) (response []byte, err error) {
	switch text := string(challenge); {
	case c.proof == nil:
		response, err = c.answer(text)
	case c.verified:
		err = fmt.Errorf("it goes on after its last message")
	case strings.HasPrefix(text, "e="):
		response = []byte{} // it is about to refuse the login
	default:
		response, err = []byte{}, c.verify(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", mail.ErrUntrusted, scramName, err)
	}
	return response, nil
}

// answer reads the server's first message, "r=NONCE,s=SALT,i=ITERATIONS" and perhaps
// extensions, and gives the client's last one (RFC 5802, 3 and 7).
func (c *scram) answer(first string) ([]byte, error) {
	fields := strings.Split(first, ",")
	if len(fields) < 3 || !strings.HasPrefix(fields[0], "r=") || !strings.HasPrefix(fields[1], "s=") || !strings.HasPrefix(fields[2], "i=") {
		return nil, fmt.Errorf("its first message makes no sense")
	}
	// A nonce that does not go on from ours belongs to a recording.
	nonce := fields[0][2:]
	if !strings.HasPrefix(nonce, c.nonce) || nonce == c.nonce {
		return nil, fmt.Errorf("its nonce does not go on from ours")
	}
	salt, err := base64.StdEncoding.DecodeString(fields[1][2:])
	if err != nil || len(salt) == 0 {
		return nil, fmt.Errorf("its salt makes no sense")
	}
	n, err := strconv.Atoi(fields[2][2:])
	if err != nil || n < minIterations || n > maxIterations {
		return nil, fmt.Errorf("it wants %.20q iterations, not %d to %d", fields[2][2:], minIterations, maxIterations)
	}
	salted, err := pbkdf2.Key(sha256.New, c.password, salt, n, sha256.Size)
	if err != nil {
		return nil, err
	}
	last := "c=" + base64.StdEncoding.EncodeToString([]byte(gs2Header)) + ",r=" + nonce
	said := c.bare + "," + first + "," + last
	clientKey := keyed(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	for i, b := range keyed(stored[:], said) {
		clientKey[i] ^= b
	}
	c.proof = keyed(keyed(salted, "Server Key"), said)
	return []byte(last + ",p=" + base64.StdEncoding.EncodeToString(clientKey)), nil
}

// verify checks the server's last message, "v=SIGNATURE" and perhaps extensions.
func (c *scram) verify(last string) error {
	v, _, _ := strings.Cut(last, ",")
	signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(v, "v="))
	if err != nil || !strings.HasPrefix(v, "v=") || !hmac.Equal(signature, c.proof) {
		return fmt.Errorf("it does not prove that it knows the password")
	}
	c.verified = true
	return nil
}

// keyed is HMAC in RFC 5802, 2.2.
func keyed(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
