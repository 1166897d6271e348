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

// Way is a way to a server, and what may befall a network: besides being slow it can swallow all
// that passes, or be severed, and be whole again.
type Way struct {
	*Scripted
	line     Line
	server   string
	up, down pace

	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	state   wayState
	longer  time.Duration // than line.Delay
	open    map[*crossing]bool
	made    int  // how many connections there have been
	over    bool // the test has ended
	carried int64
	awaited map[chan struct{}]int64
}

type wayState int

const (
	whole wayState = iota
	swallowing
	severed
)

// crossing is one connection that goes a Way. way.mu guards it.
type crossing struct {
	client, server net.Conn // server is nil where nothing came that far
	dead           bool     // what is sent on it arrives nowhere, for good
	left           bool     // the client has closed it
}

func (x *crossing) close() {
	x.client.Close()
	if x.server != nil {
		x.server.Close()
	}
}

// Slow listens on loopback, and leads to the server at that address by such a line. It ends
// with the test. A server that is not there is one that hangs up.
func Slow(t TB, host string, port int, line Line) *Way {
	t.Helper()
	w := &Way{line: line, server: net.JoinHostPort(host, strconv.Itoa(port)), random: rand.New(rand.NewPCG(1, 1)), open: map[*crossing]bool{}, awaited: map[chan struct{}]int64{}}
	w.Scripted = serveScript(t, nil, func(c *Conn) { w.cross(c) })
	t.Cleanup(func() { // comes before that of the script, which waits for all of them
		w.mu.Lock()
		defer w.mu.Unlock()
		w.over = true
		for x := range w.open {
			x.close()
		}
	})
	return w
}

// Swallow has the way drop all that passes, as a network does whose packets arrive nowhere:
// connections stay open, and nobody hears anything, not even that the other end has gone. Those
// that there are, and those that are made meanwhile, stay so also when it is whole again.
func (w *Way) Swallow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = swallowing
	for x := range w.open {
		x.dead = true
	}
}

// Sever cuts all connections, and those that are made meanwhile.
func (w *Way) Sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = severed
	for x := range w.open {
		x.close()
	}
}

// Heal makes the way whole for new connections.
func (w *Way) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = whole
}

// Lengthen has each packet take so much longer than the line says.
func (w *Way) Lengthen(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longer = by
}

// Made is how many connections there have been.
func (w *Way) Made() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made
}

// Clients is how many connections there are that their clients have not closed.
func (w *Way) Clients() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for x := range w.open {
		if !x.left {
			n++
		}
	}
	return n
}

// Carried is how many octets have come, from either end.
func (w *Way) Carried() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.carried
}

// After gives a channel that is closed when so many more octets have come.
func (w *Way) After(octets int64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{})
	w.awaited[ch] = w.carried + octets
	return ch
}

func (w *Way) carries(octets int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.carried += int64(octets)
	for ch, at := range w.awaited {
		if w.carried >= at {
			close(ch)
			delete(w.awaited, ch)
		}
	}
}

// cross carries what one connection brings.
func (w *Way) cross(c *Conn) {
	x := &crossing{client: c.conn}
	if w.begin(x) {
		var ways sync.WaitGroup
		if x.server != nil {
			octets := int64(0)
			if w.line.Cut != nil {
				octets = w.line.Cut(c.Number)
			}
			// What the line has not taken yet is to wait where it was written.
			for _, conn := range []net.Conn{x.client, x.server} {
				if tcp, ok := conn.(*net.TCPConn); ok {
					tcp.SetReadBuffer(64 << 10)
				}
			}
			ways.Go(func() { w.carry(x, &w.down, x.client, x.server, octets) })
		}
		w.carry(x, &w.up, x.server, x.client, 0)
		w.mu.Lock()
		x.left = true
		w.mu.Unlock()
		ways.Wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	x.close()
	delete(w.open, x)
}

// begin tells whether a connection comes about.
func (w *Way) begin(x *crossing) bool {
	w.mu.Lock()
	x.dead = w.state == swallowing
	w.mu.Unlock()
	if !x.dead {
		server, err := net.Dial("tcp", w.server)
		if err != nil {
			return false
		}
		x.server = server
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	x.dead = x.dead || w.state == swallowing
	w.open[x] = true
	w.made++
	return w.state != severed && !w.over
}

func (w *Way) isDead(x *crossing) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return x.dead
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

func (w *Way) lost() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(1000) < w.line.Lost
}

func (w *Way) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.line.Delay + w.longer
}

// packet is on its way.
type packet struct {
	octets []byte
	due    time.Time
}

// carry carries what comes from one end to the other, and in the end hangs up on both, unless
// nobody is to hear of that. After cut octets it does so at once, if that is not 0.
func (w *Way) carry(x *crossing, pace *pace, to, from net.Conn, cut int64) {
	under := make(chan packet, 1000)
	var arriving sync.WaitGroup
	arriving.Go(func() {
		var err error
		for p := range under {
			time.Sleep(time.Until(p.due))
			if err == nil && !w.isDead(x) {
				_, err = to.Write(p.octets)
			}
		}
		if !w.isDead(x) {
			to.Close()
			from.Close()
		}
	})
	all := int64(0)
	for {
		octets := make([]byte, packetSize)
		n, err := from.Read(octets)
		w.carries(n)
		last := err != nil
		if all += int64(n); cut > 0 && all >= cut {
			n, last = n-int(all-cut), true
		}
		if n > 0 {
			pace.wait(n, w.line.Rate)
			if w.lost() {
				time.Sleep(w.line.Resend)
			}
			under <- packet{octets[:n], time.Now().Add(w.delay())}
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
