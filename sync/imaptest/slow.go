package imaptest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"
)

// Line is a way to a server: how fast it is, how long, and how far it is to be relied on.
// All connections that go that way share it.
type Line struct {
	// Rate is how many octets pass in a second, each way; 0: any number.
	Rate int
	// Delay is how long each packet takes, each way.
	Delay time.Duration
	// Lost of a thousand packets are lost. What is behind one on its connection waits for
	// Resend until it is sent again, which is how TCP shows it.
	Lost   int
	Resend time.Duration
	// Cut tells of a connection, by its number from 1 up, after how many octets of the
	// server's it is cut; 0: never. nil: none is.
	Cut func(connection int) int64
}

const (
	packetSize = 1460 // that of TCP on Ethernet
	burst      = 20 * time.Millisecond
)

// Slow listens on loopback, and leads to the server at that address by such a line. It ends
// with the test.
func Slow(t TB, host string, port int, line Line) *Scripted {
	t.Helper()
	way := &slow{Line: line, random: rand.New(rand.NewPCG(1, 1))}
	return serveScript(t, nil, func(c *Conn) {
		server, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			c.fail("slow: %v", err)
		}
		cut := int64(0)
		if line.Cut != nil {
			cut = line.Cut(c.Number)
		}
		// What the line has not taken yet is to wait where it was written.
		for _, conn := range []net.Conn{c.conn, server} {
			if tcp, ok := conn.(*net.TCPConn); ok {
				tcp.SetReadBuffer(64 << 10)
			}
		}
		var ways sync.WaitGroup
		ways.Go(func() { way.carry(&way.up, server, c.conn, 0) })
		way.carry(&way.down, c.conn, server, cut)
		ways.Wait()
	})
}

type slow struct {
	Line
	up, down pace

	mu     sync.Mutex
	random *rand.Rand
}

// pace lets so many octets pass in a second.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

func (p *pace) wait(octets, rate int) {
	if rate == 0 {
		return
	}
	p.mu.Lock()
	// A sleep that takes too long is made up for, and an idle line has little in store.
	if since := time.Now().Add(-burst); p.next.Before(since) {
		p.next = since
	}
	p.next = p.next.Add(time.Duration(octets) * time.Second / time.Duration(rate))
	until := p.next
	p.mu.Unlock()
	time.Sleep(time.Until(until))
}

func (s *slow) lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(1000) < s.Lost
}

// packet is on its way.
type packet struct {
	octets []byte
	due    time.Time
}

// carry carries what comes from one end to the other, and in the end hangs up on both. After
// cut octets it does so at once, if that is not 0.
func (s *slow) carry(pace *pace, to, from net.Conn, cut int64) {
	under := make(chan packet, 1000)
	var arriving sync.WaitGroup
	arriving.Go(func() {
		var err error
		for p := range under {
			time.Sleep(time.Until(p.due))
			if err == nil {
				_, err = to.Write(p.octets)
			}
		}
		to.Close()
		from.Close()
	})
	all := int64(0)
	for {
		octets := make([]byte, packetSize)
		n, err := from.Read(octets)
		last := err != nil
		if all += int64(n); cut > 0 && all >= cut {
			n, last = n-int(all-cut), true
		}
		if n > 0 {
			pace.wait(n, s.Rate)
			if s.lost() {
				time.Sleep(s.Resend)
			}
			under <- packet{octets[:n], time.Now().Add(s.Delay)}
		}
		if last {
			break
		}
	}
	close(under)
	if cut > 0 && all >= cut {
		to.Close()
		from.Close()
	}
	arriving.Wait()
}
