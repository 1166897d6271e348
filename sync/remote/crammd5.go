package remote

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
)

const cramName = "CRAM-MD5"

// cramMD5 is the SASL mechanism of RFC 2195: the password does not cross the
// connection. Who listens can try passwords against what does, quickly, and the server
// proves nothing; it is here for servers that have nothing better.
type cramMD5 struct {
	user, password string
	answered       bool
}

// Start gives no first message: the server begins.
func (c *cramMD5) Start() (mechanism string, first []byte, err error) { return cramName, nil, nil }

// Next signs the server's challenge.
func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	if c.answered {
		return nil, errors.New(cramName + ": the server asks twice")
	}
	c.answered = true
	h := hmac.New(md5.New, []byte(c.password))
	h.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(h.Sum(nil))), nil
}
