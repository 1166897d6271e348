package remote

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	tlsdovecot "mailtwin/sync/imaptest/dovecot"
)

// line is a way to a server that counts what travels on it.
type line struct {
	in, out atomic.Int64
	addr    net.Addr      // of the server, as it seems
	delay   time.Duration // before an answer
}

// through has an account go that way.
func (l *line) through(opts Options) Options {
	dial := (&net.Dialer{}).DialContext
	opts.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &lineConn{Conn: conn, line: l}, err
	}
	return opts
}

type lineConn struct {
	net.Conn
	line  *line
	asked atomic.Bool
}

func (c *lineConn) RemoteAddr() net.Addr { return c.line.addr }

func (c *lineConn) Write(p []byte) (int, error) {
	c.asked.Store(true)
	n, err := c.Conn.Write(p)
	c.line.out.Add(int64(n))
	return n, err
}

func (c *lineConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.asked.Swap(false) {
		time.Sleep(c.line.delay) // that is how far away it is
	}
	c.line.in.Add(int64(n))
	return n, err
}

var (
	elsewhere = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 993}
	itself    = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 993}
)

// farLine is one on which it pays to compress.
func farLine() *line { return &line{addr: elsewhere, delay: nearby + time.Millisecond} }

// fetchOf fetches messages of INBOX, of which it expects so many octets.
func fetchOf(t *testing.T, a *Account, validity uint32, uids mail.UIDSet, octets int64) map[mail.UID]string {
	t.Helper()
	got := map[mail.UID]string{}
	errs := a.Fetch(t.Context(), []mail.Wanted{{Folder: "INBOX", Validity: validity, UIDs: uids, Octets: octets, Visit: func(b mail.Body) error {
		text, err := io.ReadAll(b.Reader)
		got[b.UID] = string(text)
		return err
	}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	return got
}

func TestMuchThatTravelsFarIsCompressed(t *testing.T) {
	t.Run("in the clear", func(t *testing.T) { compressesMuch(t, dovecotServer(t)) })
	t.Run("below TLS", func(t *testing.T) {
		s := tlsdovecot.Start(t, tlsdovecot.Extra("mail_plugins = zlib\nprotocol imap {\n mail_plugins = $mail_plugins imap_zlib\n}"))
		compressesMuch(t, Options{Host: s.Host, Port: s.TLSPort, TLS: Implicit, CAFile: s.CAFile, User: s.User,
			Password: func(context.Context) (string, error) { return s.Password, nil }})
	})
}

func compressesMuch(t *testing.T, server Options) {
	l := farLine()
	a := open(t, l.through(server))
	var texts []string
	size := int64(0)
	for i := range 40 {
		texts = append(texts, letter(fmt.Sprint(i))+strings.Repeat("As was said before, it is the same again.\r\n", 500))
		size += int64(len(texts[i]))
	}
	if err := a.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := &uploads{texts: texts}
	u.run(t.Context(), a)
	for _, done := range u.answers {
		if done.Err != nil {
			t.Fatal(done.Err)
		}
	}
	// Those before there turned out to be much went as they are.
	if sent := l.out.Load(); sent > worthCompressing+size/10 || len(u.answers) != len(texts) {
		t.Errorf("of %d octets, %d were sent", size, sent)
	}

	l = farLine()
	opts := a.opts
	opts.Connections = 0
	b := open(t, l.through(opts))
	validity := scanFolder(t, b, "INBOX", mail.Cursor{}, 0).Cursor.UIDValidity
	trips, received := b.Traffic().RoundTrips, l.in.Load()
	for uid, text := range fetchOf(t, b, validity, mail.UIDSet{{First: 1, Last: 40}}, size) {
		if text != texts[uid-1] {
			t.Errorf("UID %d is another one", uid)
		}
	}
	if received = l.in.Load() - received; received > size/10 {
		t.Errorf("of %d octets, %d were received", size, received)
	}
	if trips = b.Traffic().RoundTrips - trips; trips != 3 {
		t.Errorf("COMPRESS, NOOP and UID FETCH are %d round trips", trips)
	}
	trips = b.Traffic().RoundTrips
	fetchOf(t, b, validity, mail.UIDs(1), size)
	if trips = b.Traffic().RoundTrips - trips; trips != 1 {
		t.Errorf("one more UID FETCH is %d round trips", trips)
	}
	if tr := b.Traffic(); server.TLS == None && (tr.BytesIn != l.in.Load() || tr.BytesOut != l.out.Load()) {
		t.Errorf("%d octets came and %d went; it counts %+v", l.in.Load(), l.out.Load(), tr)
	}
}

func TestWhatDoesNotPayIsNotCompressed(t *testing.T) {
	const caps = "COMPRESS=DEFLATE"
	for _, c := range []struct {
		name   string
		caps   string
		line   *line
		octets int64
	}{
		{"to this machine", caps, &line{addr: itself, delay: 10 * time.Millisecond}, 1 << 20},
		{"to one nearby", caps, &line{addr: elsewhere}, 1 << 20},
		{"if it is little", caps, farLine(), worthCompressing - 1},
		{"if nobody knows how much it is", caps, farLine(), 0},
		{"unless the server can", "", farLine(), 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := fetchTable(whole(1, letter("one"))+"TAG OK done", "")
			a := open(t, c.line.through(scripted(t, func(s *script) {
				s.login(c.caps)
				s.answers(table) // what COMPRESS is answered would be no deflate
			})))
			if got := fetchOf(t, a, 7, mail.UIDs(1), c.octets); got[1] != letter("one") {
				t.Errorf("fetched %v", got)
			}
			if n := a.Traffic().Connections; n != 1 {
				t.Errorf("it took %d connections", n)
			}
		})
	}
}

// compressing plays a server that takes up COMPRESS, and then does something else with the
// connection; on one where it is not asked for it serves messages.
func compressing(t *testing.T, answer string, then func(s *script)) (Options, *atomic.Int32) {
	var asked atomic.Int32
	text := letter("one")
	return scripted(t, func(s *script) {
		s.login("COMPRESS=DEFLATE")
		for {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, "COMPRESS"):
				asked.Add(1)
				if s.say(tag + " " + answer); then != nil {
					then(s)
					return
				}
			case strings.HasPrefix(command, "SELECT"):
				s.raw(strings.ReplaceAll(selected(1, 2, 0), "TAG", tag) + "\r\n")
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, tag+" OK")
			case strings.HasPrefix(command, "UID FETCH"):
				s.raw(whole(1, text) + tag + " OK done\r\n")
			default:
				s.say(tag + " OK")
			}
		}
	}), &asked
}

func TestAServerThatCannotDoWhatItOffersIsUsedWithoutIt(t *testing.T) {
	untilItHangsUp := func(s *script) { io.Copy(io.Discard, s.r) }
	for _, c := range []struct {
		name, answer string
		then         func(s *script)
		connections  int
	}{
		{"it refuses", "NO not today", nil, 1},
		{"it says nothing from then on", "OK", untilItHangsUp, 2},
		{"it goes on as if nothing were compressed", "OK", func(s *script) { s.say("* OK and now?"); untilItHangsUp(s) }, 2},
		{"it keeps back what it has compressed", "OK", func(s *script) {
			var packet bytes.Buffer
			out, _ := flate.NewWriter(&packet, flate.BestSpeed) // there is such a level
			tag, _, _ := strings.Cut(first(flate.NewReader(s.r)), " ")
			fmt.Fprintf(out, "%s OK", tag)
			out.Flush()
			s.raw(packet.String())
			untilItHangsUp(s)
		}, 2},
		{"it hangs up", "OK", func(*script) {}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts, asked := compressing(t, c.answer, c.then)
			opts.Timeout = 200 * time.Millisecond
			a := open(t, farLine().through(opts))
			for range 3 {
				if got := fetchOf(t, a, 7, mail.UIDs(1), 1<<20); got[1] != letter("one") {
					t.Errorf("fetched %v", got)
				}
			}
			if n := a.Traffic().Connections; n != c.connections || asked.Load() != 1 {
				t.Errorf("it took %d connections, and was asked %d times", n, asked.Load())
			}
		})
	}
}

func first(r io.Reader) string {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		panic(errScriptEnded)
	}
	return line
}

func TestAnUploadGoesOnWhereTheServerCannotCompress(t *testing.T) {
	text := strings.Repeat("x", worthCompressing)
	var got atomic.Int64
	opts := scripted(t, func(s *script) {
		s.login("COMPRESS=DEFLATE LITERAL+")
		for {
			tag, command := s.hear()
			size := 0
			switch {
			case strings.HasPrefix(command, "COMPRESS"):
				s.say(tag + " OK")
				return
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`)
			case strings.HasPrefix(command, "APPEND"):
				fmt.Sscanf(command[strings.LastIndex(command, "{"):], "{%d", &size)
				n, _ := io.CopyN(io.Discard, s.r, int64(size+2))
				got.Add(n - 2)
			}
			s.say(tag + " OK")
		}
	})
	a := open(t, farLine().through(opts))
	u := &uploads{texts: []string{"small", text, "small again"}}
	u.run(t.Context(), a)
	for i, done := range u.answers {
		if done.Err != nil {
			t.Errorf("upload %d: %v", i, done.Err)
		}
	}
	if len(u.answers) != 3 || got.Load() != int64(len(text)+len("smallsmall again")) {
		t.Errorf("%d answers, %d octets", len(u.answers), got.Load())
	}
}
