package remote

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// The exchange in RFC 7677, 3.
const (
	scramFirst  = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	scramServer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	scramLast   = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	scramProof  = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcScram(t *testing.T) *scram {
	t.Helper()
	c := &scram{user: "user", password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO"}
	mechanism, first, err := c.Start()
	if mechanism != "SCRAM-SHA-256" || string(first) != scramFirst || err != nil {
		t.Fatalf("begins with %s %q, %v", mechanism, first, err)
	}
	return c
}

func TestScramAsInRFC7677(t *testing.T) {
	c := rfcScram(t)
	last, err := c.Next([]byte(scramServer))
	if string(last) != scramLast || err != nil {
		t.Fatalf("answers %q, %v", last, err)
	}
	if c.verified {
		t.Error("the server is believed before its proof")
	}
	end, err := c.Next([]byte(scramProof))
	if err != nil || end == nil || len(end) > 0 || !c.verified {
		t.Errorf("ends with %q, %v; the server is believed: %v", end, err, c.verified)
	}
	if _, err := c.Next([]byte(scramProof)); !errors.Is(err, mail.ErrUntrusted) {
		t.Errorf("a server that goes on: %v", err)
	}
}

func TestScramDoesNotTrustAServerThat(t *testing.T) {
	for name, said := range map[string][]string{
		"says nothing":                {""},
		"plays a recording":           {"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		"adds no nonce":               {"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		"has no salt":                 {"r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096"},
		"has a salt that is none":     {"r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096"},
		"hashes once":                 {"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1"},
		"hashes for hours":            {"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000"},
		"wants what is unknown":       {"m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		"knows another password":      {scramServer, "v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
		"signs with nothing":          {scramServer, "v="},
		"ends in what makes no sense": {scramServer, "hello"},
	} {
		c := rfcScram(t)
		var err error
		for _, s := range said {
			_, err = c.Next([]byte(s))
		}
		if !errors.Is(err, mail.ErrUntrusted) || c.verified {
			t.Errorf("a server that %s: %v", name, err)
		}
	}
}

func TestScramNames(t *testing.T) {
	_, first, err := newScram("a=b,c", "x").Start()
	if err != nil || !strings.HasPrefix(string(first), "n,,n=a=3Db=2Cc,r=") {
		t.Errorf("it begins with %q, %v", first, err)
	}
	_, other, err := newScram("a=b,c", "x").Start()
	if err != nil || string(other) == string(first) {
		t.Errorf("the nonce comes twice: %q, %v", first, err)
	}
}

func TestCramAsInRFC2195(t *testing.T) {
	c := &cramMD5{user: "tim", password: "tanstaaftanstaaf"}
	if mechanism, first, err := c.Start(); mechanism != "CRAM-MD5" || first != nil || err != nil {
		t.Errorf("begins with %s %q, %v", mechanism, first, err)
	}
	got, err := c.Next([]byte("<1896.697170952@postoffice.reston.mci.net>"))
	if string(got) != "tim b913a602c7eda7a495b4e6e7334d3890" || err != nil {
		t.Errorf("answers %q, %v", got, err)
	}
	if _, err := c.Next([]byte("again")); err == nil {
		t.Error("it answers twice")
	}
}

// A server that lets anybody in has not proved that it is the right one.
func TestScramWantsTheProofBeforeItIsIn(t *testing.T) {
	for name, end := range map[string]func(s *script, tag string){
		"let in without it": func(s *script, tag string) { s.say(tag + " OK [CAPABILITY IMAP4rev1] in") },
		"let in with an error instead": func(s *script, tag string) {
			s.say("+ " + base64.StdEncoding.EncodeToString([]byte("e=other-error")))
			s.hear()
			s.say(tag + " OK [CAPABILITY IMAP4rev1] in")
		},
		"with a wrong one": func(s *script, tag string) {
			s.say("+ " + base64.StdEncoding.EncodeToString([]byte("v=AAAA")))
			s.hear()
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := scripted(t, func(s *script) {
				s.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=SCRAM-SHA-256 AUTH=PLAIN] hello")
				tag, command := s.hear()
				first, err := base64.StdEncoding.DecodeString(command[strings.LastIndexByte(command, ' ')+1:])
				_, nonce, ok := strings.Cut(string(first), ",r=")
				if err != nil || !ok {
					t.Errorf("it begins with %q: %v", command, err)
				}
				s.say("+ " + base64.StdEncoding.EncodeToString([]byte("r="+nonce+"x,s=c2FsdA==,i=4096")))
				s.hear()
				end(s, tag)
			})
			err := folders(t, open(t, opts))
			if !errors.Is(err, mail.ErrUntrusted) || errors.Is(err, mail.ErrUnreachable) || errors.Is(err, mail.ErrLogin) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// Whatever the server says, nothing but the right proof verifies it, and no answer goes to
// one whose nonce is not made of ours.
func FuzzScram(f *testing.F) {
	f.Add(scramServer, scramProof)
	f.Add("r=rOprNGfwEbeRWgbNEkqOx,s=AA==,i=4096,x=y", "e=other-error")
	f.Add("r=,s=,i=99999999999999999999", "v=")
	f.Fuzz(func(t *testing.T, first, second string) {
		if _, after, ok := strings.Cut(first, ",i="); ok && len(after) > 4 {
			return // it would be hashed for long
		}
		c := rfcScram(t)
		answer, err := c.Next([]byte(first))
		if err != nil {
			if !errors.Is(err, mail.ErrUntrusted) || answer != nil || c.verified {
				t.Errorf("%q: %q, %v", first, answer, err)
			}
			return
		}
		if !strings.HasPrefix(first, "r="+c.nonce) || !strings.HasPrefix(string(answer), "c=biws,r="+c.nonce) {
			t.Errorf("%q is answered with %q", first, answer)
		}
		proof := "v=" + base64.StdEncoding.EncodeToString(c.proof)
		_, err = c.Next([]byte(second))
		if v, _, _ := strings.Cut(second, ","); c.verified && v != proof {
			t.Errorf("%q is taken for the proof %q: %v", second, proof, err)
		}
	})
}
