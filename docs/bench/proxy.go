package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// proxy stands between the clients and the server like a line of a given delay. Each
// piece that one side writes is stamped, queued, and handed on half a round trip later;
// what follows it does not wait for it, so that the delay bounds no bandwidth. A new
// connection costs what TCP's handshake would.
type proxy struct {
	listener net.Listener
	server   string

	mu   sync.Mutex
	rtt  time.Duration
	now  *traffic
	open int // connections of this moment
}

// traffic is what went through the proxy in one run.
type traffic struct {
	In, Out     int64 // bytes to and from the client
	Connections int
	// RoundTrips counts how often a client wrote after it had heard something, and when
	// nothing more was on its way to it. Those of login and logout are among them. It is 0
	// where there is no delay: then there is no telling what a client had waited for.
	RoundTrips int
}

func newProxy(server string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for clients: %w", err)
	}
	p := &proxy{listener: l, server: server, now: &traffic{}}
	go p.accept()
	return p, nil
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *proxy) close() {
	p.listener.Close()
	p.settle()
}

// begin starts a new count, for connections with this round trip time.
func (p *proxy) begin(rtt time.Duration) {
	p.settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rtt, p.now = rtt, &traffic{}
}

// end gives the count since begin.
func (p *proxy) end() traffic {
	p.settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.now
}

// settle waits until all connections have ended, or for a while: a client that was
// killed leaves some that nobody ends.
func (p *proxy) settle() {
	for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		if open == 0 {
			return
		}
	}
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.mu.Lock()
		l := &line{client: c.(*net.TCPConn), rtt: p.rtt, count: p.now, mu: &p.mu}
		p.now.Connections++
		p.open++
		p.mu.Unlock()
		go func() {
			l.run(p.server)
			p.mu.Lock()
			p.open--
			p.mu.Unlock()
		}()
	}
}

// line is one connection through the proxy.
type line struct {
	client, server *net.TCPConn
	rtt            time.Duration

	mu     *sync.Mutex
	count  *traffic
	heard  bool // the client got something since its last write that counted
	onLine int  // pieces on their way to the client
}

func (l *line) run(server string) {
	defer l.client.Close()
	// The server sees a connection when the third packet of the handshake arrives.
	time.Sleep(l.rtt * 3 / 2)
	c, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	l.server = c.(*net.TCPConn)
	defer l.server.Close()
	var both sync.WaitGroup
	if l.rtt == 0 {
		both.Go(func() { l.splice(l.server, l.client, &l.count.Out) })
		both.Go(func() { l.splice(l.client, l.server, &l.count.In) })
	} else {
		both.Go(func() { l.delay(l.server, l.client, false) })
		both.Go(func() { l.delay(l.client, l.server, true) })
	}
	both.Wait()
}

// splice lets the kernel hand on the bytes, so that without a delay the proxy takes next
// to nothing of the machine.
func (l *line) splice(to, from *net.TCPConn, count *int64) {
	n, _ := io.Copy(to, from) // however it ends, it has ended
	to.CloseWrite()
	l.mu.Lock()
	*count += n
	l.mu.Unlock()
}

type piece struct {
	due  time.Time
	data []byte
}

// inFlight bounds what is queued in one direction of a connection, as windows do: at
// 64 kB a piece that is 256 MB, more than any line here carries within a delay.
const inFlight = 4096

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// delay hands on pieces half a round trip after they came.
func (l *line) delay(to, from *net.TCPConn, toClient bool) {
	queue := make(chan piece, inFlight)
	go func() {
		defer close(queue)
		for {
			buf := buffers.Get().(*[64 << 10]byte)
			n, err := from.Read(buf[:])
			if n > 0 {
				l.came(n, toClient)
				queue <- piece{time.Now().Add(l.rtt / 2), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	var failed error
	for p := range queue { // to its end also after a failure, so that the reader ends
		time.Sleep(time.Until(p.due))
		l.goes(toClient)
		if failed == nil {
			_, failed = to.Write(p.data)
		}
		buffers.Put((*[64 << 10]byte)(p.data[:cap(p.data)]))
		if failed != nil {
			from.CloseRead()
		}
	}
	to.CloseWrite()
}

// came counts a piece that the proxy has read.
func (l *line) came(n int, toClient bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if toClient {
		l.count.In += int64(n)
		l.onLine++
		return
	}
	l.count.Out += int64(n)
	if l.heard && l.onLine == 0 {
		l.count.RoundTrips++
		l.heard = false
	}
}

// goes counts a piece that the proxy is about to write: the client may answer before the
// write returns.
func (l *line) goes(toClient bool) {
	if !toClient {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onLine--
	l.heard = true
}
