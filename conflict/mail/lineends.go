package mail

import (
	"bytes"
	"io"
)

// ToFile writes to W what it is given as wire bytes, with each CRLF turned into
// LF and nothing else changed: a lone CR and a lone LF stay. Flush at the end: a
// last CR is held back until what follows it is known.
type ToFile struct {
	W  io.Writer
	cr bool
}

// Write turns the next bytes. Its errors are those of W.
func (t *ToFile) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if t.cr {
			t.cr = false
			if p[0] != '\n' {
				if _, err := t.W.Write([]byte{'\r'}); err != nil {
					return 0, err
				}
			}
		}
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			if _, err := t.W.Write(p); err != nil {
				return 0, err
			}
			break
		}
		if i > 0 {
			if _, err := t.W.Write(p[:i]); err != nil {
				return 0, err
			}
		}
		t.cr = true
		p = p[i+1:]
	}
	return n, nil
}

// Held tells how many of the bytes that it was given are held back.
func (t *ToFile) Held() int {
	if t.cr {
		return 1
	}
	return 0
}

// Flush writes what was held back.
func (t *ToFile) Flush() error {
	if !t.cr {
		return nil
	}
	t.cr = false
	_, err := t.W.Write([]byte{'\r'})
	return err
}

// ToWire writes to W what it is given as a file's bytes, with each LF that no CR
// precedes turned into CRLF and nothing else changed.
type ToWire struct {
	W  io.Writer
	cr bool
}

// Write turns the next bytes. Its errors are those of W.
func (t *ToWire) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if _, err := t.W.Write(p); err != nil {
				return 0, err
			}
			t.cr = p[len(p)-1] == '\r'
			break
		}
		if i > 0 {
			t.cr = p[i-1] == '\r'
		}
		line, end := p[:i], crlf
		if t.cr {
			end = crlf[1:]
		}
		t.cr = false
		if len(line) > 0 {
			if _, err := t.W.Write(line); err != nil {
				return 0, err
			}
		}
		if _, err := t.W.Write(end); err != nil {
			return 0, err
		}
		p = p[i+1:]
	}
	return n, nil
}
