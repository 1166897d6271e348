package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// echo answers each line with itself, and a line "much" with eight megabytes.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					if lines.Text() == "much" {
						c.Write(make([]byte, 8<<20))
						continue
					}
					io.WriteString(c, lines.Text()+"\n")
				}
			}()
		}
	}()
	return l.Addr().String()
}

func throughProxy(t *testing.T, rtt time.Duration, talk func(c net.Conn, r *bufio.Reader)) (time.Duration, traffic) {
	t.Helper()
	p, err := newProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.begin(rtt)
	began := time.Now()
	c, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	talk(c, bufio.NewReader(c))
	took := time.Since(began)
	c.Close()
	return took, p.end()
}

func ask(t *testing.T, c net.Conn, r *bufio.Reader, lines ...string) {
	t.Helper()
	if _, err := io.WriteString(c, strings.Join(lines, "\n")+"\n"); err != nil {
		t.Fatal(err)
	}
	for range lines {
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheProxyCountsWaits(t *testing.T) {
	const rtt = 60 * time.Millisecond
	took, got := throughProxy(t, rtt, func(c net.Conn, r *bufio.Reader) {
		ask(t, c, r, "a")
		ask(t, c, r, "b", "c", "d")
		ask(t, c, r, "e")
	})
	// The first write answers nothing: the greeting of a real server comes before it.
	if got.RoundTrips != 2 || got.Connections != 1 || got.In != 10 || got.Out != 10 {
		t.Errorf("counted %+v", got)
	}
	// Three answers, and half a handshake more than none.
	if least := 3*rtt + rtt; took < least || took > 4*least {
		t.Errorf("took %v, and should take %v", took, least)
	}
}

func TestTheProxyBoundsNoBandwidth(t *testing.T) {
	const rtt = 200 * time.Millisecond
	took, got := throughProxy(t, rtt, func(c net.Conn, r *bufio.Reader) {
		if _, err := io.WriteString(c, "much\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, 8<<20); err != nil {
			t.Fatal(err)
		}
	})
	if got.In != 8<<20 {
		t.Errorf("%d bytes came through", got.In)
	}
	// Piece by piece it would be 128 delays, of 12 seconds in all.
	if took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestTheProxyCountsBytesWithoutDelay(t *testing.T) {
	_, got := throughProxy(t, 0, func(c net.Conn, r *bufio.Reader) {
		ask(t, c, r, "a", "b")
	})
	if got.In != 4 || got.Out != 4 || got.Connections != 1 {
		t.Errorf("counted %+v", got)
	}
}
