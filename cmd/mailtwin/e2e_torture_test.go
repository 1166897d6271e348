package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

// torture is an account that three computers, a phone and mail programs work on at
// random and all at the same time, while syncs are killed, connections are cut and the
// server is restarted. Each message has a token, so that at the end each can be counted.
type torture struct {
	*story
	folders  []mail.Folder // that messages move among
	devices  []*computer
	knives   []*knife
	restarts chan chan struct{} // who needs the server to be restarted, and waits for it
	restart  atomic.Int64       // how often that has begun or ended
	trace    string             // a directory for all that syncs say; "" for none
	live     bool               // on each device a watch syncs
	services []*service         // those; nil: there is none just now
	serving  sync.WaitGroup     // whoever waits for their ends
	runs     atomic.Int64

	mu     sync.Mutex // guards what follows
	rand   *rand.Rand
	deck   []card
	made   int // tokens
	tales  map[string]*tale
	struck map[string]int // what befell the syncs, and what was done meanwhile
}

func one[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// seeded gives chance of its own to somebody who acts at the same time as others.
func (x *torture) seeded() *rand.Rand {
	x.mu.Lock()
	defer x.mu.Unlock()
	return rand.New(rand.NewPCG(x.rand.Uint64(), 1))
}

func (x *torture) strike(what string) { x.strikes(what, 1) }

func (x *torture) strikes(what string, n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n > 0 {
		x.struck[what] += n
	}
}

// card is what befalls one sync.
type card struct {
	stroke *stroke
	step   bool // it is killed at a step of the engine
	reader bool // a reader renames files all the while, without pause
}

// newDeck holds what befalls syncs; each card is dealt once before the next deck.
func newDeck(r *rand.Rand) []card {
	deck := []card{{}, {}, {reader: true}, {reader: true}, {reader: true}}
	for range 5 {
		deck = append(deck, card{step: true}, card{step: true, reader: r.IntN(3) == 0})
	}
	for _, deed := range []deed{cutOne, cutAll, killIt} {
		for _, answer := range []bool{false, true} {
			for _, verb := range []string{"APPEND", "MOVE"} {
				deck = append(deck, card{stroke: &stroke{deed: deed, verb: verb, answer: answer}})
			}
			deck = append(deck, card{stroke: &stroke{deed: deed, answer: answer}, reader: r.IntN(3) == 0}) // at any octet
		}
		deck = append(deck,
			card{stroke: &stroke{deed: deed, verb: bodyOf, answer: true}, reader: r.IntN(3) == 0},
			card{stroke: &stroke{deed: deed, verb: one(r, []string{"COPY", "EXPUNGE", "STORE"}), answer: r.IntN(3) > 0}})
	}
	for range 2 {
		verb := one(r, []string{"SELECT", "FETCH", "APPEND", "MOVE", bodyOf})
		deck = append(deck, card{stroke: &stroke{deed: restart, verb: verb, answer: true}})
	}
	r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

// deal deals a card.
func (x *torture) deal(r *rand.Rand) card {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.deck) == 0 {
		x.deck = newDeck(r)
	}
	c := x.deck[0]
	x.deck = x.deck[1:]
	return c
}

// again puts a card back that had no effect, so that it comes soon: the deck may not be
// dealt to its end.
func (x *torture) again(c card) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.deck = slices.Insert(x.deck, min(len(x.deck), 3), c)
}

// prepare makes it likely that a sync of the device meets what the card is about.
func (x *torture) prepare(d *computer, r *rand.Rand, c card) {
	verb := ""
	if c.stroke != nil {
		verb = c.stroke.verb
	}
	for range 3 {
		switch verb {
		case "APPEND":
			x.save(d, r, one(r, x.folders))
		case bodyOf:
			x.arrive(r, one(r, x.folders))
		case "MOVE", "COPY", "EXPUNGE", "STORE":
			what := map[string]string{"MOVE": "move", "COPY": "copy", "EXPUNGE": "remove", "STORE": "answer"}[verb]
			if th, ok := x.find(d, r, one(r, x.folders)); ok {
				x.programDoes(d, r, what, th)
			}
		default:
			x.program(d, r)
		}
	}
}

// sync syncs a device, while something befalls it and others act.
func (x *torture) sync(i int, c card, r *rand.Rand) {
	d := x.devices[i]
	var next *stroke
	step := 0
	if c.step {
		step = 1 + r.IntN(120)
	}
	if c.stroke != nil {
		s := *c.stroke
		s.skip = r.IntN(2)
		s.octets = 1000 + r.Int64N(map[bool]int64{false: 4000, true: 30_000}[s.answer])
		next = &s
	}
	if x.live {
		x.prepare(d, r, c)
	}
	before := x.open(d)
	var others sync.WaitGroup
	stop := make(chan struct{})
	if c.reader {
		reader := x.seeded()
		others.Go(func() { x.strikes("renamed by a reader during a sync", x.reader(d, reader, "DPT"[i], stop)) })
	}
	restarts := x.restart.Load()
	e := x.run(i, next, x.meddle(x.seeded()), step)
	close(stop)
	others.Wait()
	x.count(e)
	if next != nil && next.deed != killIt && e.struck == "" || (c.step || next != nil && next.deed == killIt) && !e.killed {
		x.again(c)
	}
	if e.killed {
		x.strike("killed " + e.at)
		x.died(before, x.open(d))
	} else if e.struck != "" {
		x.strike(e.struck)
	}
	switch disturbed := e.struck != "" || restarts%2 == 1 || x.restart.Load() != restarts; {
	case e.killed, e.code == exitOK, e.code == exitTemporary && disturbed, e.code == exitFailed && e.waits(disturbed):
	default:
		x.Errorf("%s: exit code %d\n%s%s", d.name, e.code, e.stdout, e.stderr)
	}
}

// meddle gives what others do in the midst of a sync: some of them, at some commands.
func (x *torture) meddle(r *rand.Rand) func() {
	var mu sync.Mutex
	left, every := r.IntN(6), 2+r.IntN(10)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if left == 0 || r.IntN(every) > 0 {
			return
		}
		left--
		x.strike("acts during a sync")
		if d := one(r, x.devices); r.IntN(2) == 0 {
			x.program(d, r)
		} else {
			x.phoneActs(r)
		}
	}
}

// together does something n times at once, and restarts the server for those who want
// that.
func (x *torture) together(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		all.Wait()
	}()
	for {
		select {
		case <-ended:
			return
		case done := <-x.restarts:
			x.restart.Add(1)
			x.server.Restart()
			x.restart.Add(1)
			close(done)
		}
	}
}

// round lets some devices sync at the same time.
func (x *torture) round() {
	r := x.seeded()
	for range r.IntN(4) {
		x.program(one(r, x.devices), r)
		x.phoneActs(r)
	}
	order := r.Perm(len(x.devices))[:1+r.IntN(len(x.devices))]
	cards := make([]card, len(order))
	for n, i := range order {
		cards[n] = x.deal(r)
		if r.IntN(2) == 0 {
			x.quarrel(x.devices[i], r)
		}
		if !x.live { // else it would be synced before anything can befall that
			x.prepare(x.devices[i], r, cards[n])
		}
	}
	chances := make([]*rand.Rand, len(order))
	for n := range order {
		chances[n] = x.seeded()
	}
	x.together(len(order), func(n int) { x.sync(order[n], cards[n], chances[n]) })
}

// newTorture sets the account up.
func newTorture(t *testing.T, seed uint64, live bool) *torture {
	server := dovecot.Start(t, dovecot.Users("tortured"), dovecot.Extra(reuse), dovecot.Sdbox())
	x := &torture{
		story: newStory(t, server, "tortured"), rand: rand.New(rand.NewPCG(seed, 1)),
		folders:  []mail.Folder{"INBOX", "Archive", "Drafts", "Junk"},
		restarts: make(chan chan struct{}), tales: map[string]*tale{}, struck: map[string]int{}, live: live,
	}
	for _, name := range []string{"laptop", "desktop", "netbook"} {
		k := x.story.knife()
		k.failed = func(err error) { x.Error(err) }
		k.restart = func() {
			done := make(chan struct{})
			select {
			case x.restarts <- done:
				<-done
			case <-x.Context().Done():
			}
		}
		x.knives = append(x.knives, k)
		x.services = append(x.services, nil)
		x.devices = append(x.devices, x.device(name, "port = "+strconv.Itoa(k.port), `timeout = "20s"`))
	}
	if os.Getenv("MAILTWIN_TRACE") == "1" {
		x.trace = t.ArtifactDir()
	}
	x.check(x.phone.CreateFolder(x.Context(), copiesOnly, mail.RoleNone))
	r := x.seeded()
	for range 40 {
		x.arrive(r, one(r, x.folders))
	}
	x.settle("in the beginning")
	return x
}

// bout is after how many rounds all is brought in step and counted.
const bout = 24

// usual is how many rounds an ordinary test has.
const usual = 24

// Three computers, a phone, mail programs and readers, on a real server, with syncs that
// are killed and cut off at random and a server that is restarted: in the end all is
// equal, nothing is lost, nothing doubled, and nothing left to do. MAILTWIN_TORTURE is
// how many rounds there are, MAILTWIN_SEED where chance begins, and MAILTWIN_BINARY
// a program to be tortured instead of the one that the test has in it. With
// MAILTWIN_TRACE=1 what each sync says, with -vv, is among the test's artifacts.
func TestTorture(t *testing.T) {
	t.Parallel() // the more there is besides, the longer each sync takes, and the more befalls it
	torment(t, false, slices.Concat(least, acts))
}

// torment tortures an account whose devices sync when they are told to, or have a watch. It must have
// struck as often as least says.
func torment(t *testing.T, live bool, least []strike) {
	rounds, seed := usual, uint64(1)
	if live {
		rounds = usual / 3 // much happens between them
	}
	if n, err := strconv.Atoi(os.Getenv("MAILTWIN_TORTURE")); err == nil {
		rounds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("MAILTWIN_SEED"), 10, 64); err == nil {
		seed = n
	}
	x := newTorture(t, seed, live)
	// What has not been struck by then gets as many rounds again.
	last := rounds
	for round := 1; round <= last && !t.Failed(); round++ {
		x.round()
		if round == last && last < 2*rounds && len(x.lacking(rounds, least)) > 0 {
			last++
		}
		if round%bout == 0 || round == last {
			x.settle(fmt.Sprintf("after round %d", round))
			x.census()
			x.lastWord()
			if round < last {
				x.thin(60)
			}
		}
	}
	x.dismiss()
	for _, d := range x.devices {
		var doc conflictsReport
		r := d.exits(exitOK, "conflicts", "--json")
		x.check(json.Unmarshal([]byte(r.stdout), &doc))
		x.strikes("conflicts", len(doc.Accounts[0].Conflicts))
	}
	for _, what := range slices.Sorted(maps.Keys(x.struck)) {
		t.Logf("%5d %s", x.struck[what], what)
	}
	for _, lack := range x.lacking(rounds, least) {
		t.Errorf("%s: it was no torture", lack)
	}
	if n, want := x.struck["conflicts"], leastConflicts*rounds/usual; n < want {
		t.Errorf("%d conflicts, want at least %d: it was no torture", n, want)
	}
}

// lacking tells what has happened too seldom for so many rounds.
func (x *torture) lacking(rounds int, least []strike) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var lacks []string
	for _, l := range least {
		got := 0
		for name, times := range x.struck {
			if regexp.MustCompile(l.what).MatchString(name) {
				got += times
			}
		}
		if want := l.times * rounds / usual; got < want {
			lacks = append(lacks, fmt.Sprintf("%q: %d times, want at least %d", l.what, got, want))
		}
	}
	return lacks
}

// strike is how often something must at least have happened in as many rounds as usual.
type strike struct {
	what  string // a regular expression
	times int
}

// least is what befalls syncs.
var least = []strike{
	{"^killed between intent and commit: ", 3},
	{"^killed (before|after) (Local|Remote|State|Incoming)\\.", 5}, // a step
	{"^killed (inside|in the answer|after)", 5},
	{"^cut( off)? inside APPEND$", 2},
	{"^cut( off)? in the answer to APPEND$", 1},
	{"^cut( off)? inside MOVE$", 1},
	{"^cut( off)? in the answer to MOVE$", 1},
	{"^cut( off)? inside a FETCH body$", 1},
	{"^restarted ", 1},
}

// acts are what people and programs do, and syncs therefore.
var acts = []strike{
	{"^acts during a sync$", 20},
	{"^renamed by a reader during a sync$", 1000},
	{"^phone: move$", 3},
	{"^phone: remove$", 3},
	{"^program: move$", 5},
	{"^program: remove$", 5},
	{"^program: rewrite$", 1},
	{"^synced: moved here$", 10},
	{"^synced: moved on the server$", 3},
	{"^synced: removed here$", 10},
	{"^synced: removed on the server$", 5},
}

// leastConflicts is the like for conflicts, which are counted at the end.
const leastConflicts = 5
