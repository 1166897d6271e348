package history_test

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"mailtwin/sync/sim/history"
)

// Histories are many and short-lived, so there is little to collect at any time; and what is used
// again stays near the processor.
func TestMain(m *testing.M) {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(128 << 20)
	os.Exit(m.Run())
}

// budget is how many histories are played, and where their seeds begin. MAILTWIN_HISTORIES
// and MAILTWIN_SEED say otherwise.
func budget(t *testing.T, usual int) (first uint64, n int) {
	t.Helper()
	if raceDetector {
		usual /= 20 // it sees the same with fewer
	}
	first, n = 1, usual
	if s := os.Getenv("MAILTWIN_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("MAILTWIN_SEED: %v", err)
		}
		first, n = seed, 1
	}
	if s := os.Getenv("MAILTWIN_HISTORIES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("MAILTWIN_HISTORIES: %v", err)
		}
	}
	return first, n
}

// drawn is the history of a seed, or what MAILTWIN_AIM and MAILTWIN_STEPS make of it.
func drawn(t *testing.T, seed uint64, aim string) *history.History {
	t.Helper()
	h := history.New(seed)
	h.AimAt(cmp.Or(os.Getenv("MAILTWIN_AIM"), aim))
	s := os.Getenv("MAILTWIN_STEPS")
	if s == "" {
		return h
	}
	var kept []int
	for _, n := range strings.Split(s, ",") {
		step, err := strconv.Atoi(n)
		if err != nil {
			t.Fatalf("MAILTWIN_STEPS: %v", err)
		}
		kept = append(kept, step)
	}
	return h.Only(kept)
}

// play plays that many histories, on all processors, and reports the first that fails.
func play(t *testing.T, first uint64, n int, aim string, lane func() history.Lane) history.Coverage {
	t.Helper()
	began := time.Now()
	var next atomic.Int64
	var failed atomic.Uint64 // the seed and 1
	covers := make([]history.Coverage, runtime.GOMAXPROCS(0))
	var workers gosync.WaitGroup
	for w := range covers {
		covers[w] = history.Coverage{}
		mine := lane()
		workers.Go(func() {
			for failed.Load() == 0 {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				seed := first + uint64(i)
				if res := history.Play(drawn(t, seed, aim), mine, covers[w]); res.Err != nil {
					failed.CompareAndSwap(0, seed+1)
				}
			}
		})
	}
	workers.Wait()
	played, took := min(next.Load(), int64(n)), time.Since(began)
	t.Logf("%d histories in %v: %.0f a second on %d processors", played, took.Round(time.Millisecond), float64(played)/took.Seconds(), len(covers))
	if seed := failed.Load(); seed != 0 {
		report(t, seed-1, aim, lane())
	}
	for _, c := range covers[1:] {
		covers[0].Add(c)
	}
	return covers[0]
}

var digits = regexp.MustCompile(`[0-9]+`)

// alike tells whether two failures are of one kind.
func alike(a, b error) bool {
	kind := func(err error) string {
		s := digits.ReplaceAllString(err.Error(), "N")
		return s[:min(len(s), 30)]
	}
	return a != nil && b != nil && kind(a) == kind(b)
}

// report tells of a history that fails: its seed, the shortest one that fails alike, and
// how to play that again.
func report(t *testing.T, seed uint64, aim string, lane history.Lane) {
	t.Helper()
	whole := drawn(t, seed, aim)
	err := history.Play(whole, lane, history.Coverage{}).Err
	short := whole
	if os.Getenv("MAILTWIN_STEPS") == "" {
		short = history.Shrink(whole, 300, func(h *history.History) bool {
			return alike(history.Play(h, lane, history.Coverage{}).Err, err)
		})
	}
	short.Log, short.Verbose = true, os.Getenv("MAILTWIN_VERBOSE") != ""
	res := history.Play(short, lane, history.Coverage{})
	t.Errorf("seed %d: %v\n\nits shortest form: %v\n%+v\n%s\n\nto play it again (MAILTWIN_VERBOSE=1 shows each call):\n%s go test ./sync/sim/history -run '^%s$'",
		seed, err, res.Err, short.Setup, strings.Join(res.Log, "\n"), short.Command(), t.Name())
}

func memory() history.Lane { return history.Memory{} }

// The fast lane: random histories with base in memory.
func TestHistories(t *testing.T) {
	first, n := budget(t, fastBudget)
	cover := play(t, first, n, "", memory)
	if n < fastBudget || t.Failed() {
		return // too few to strike all
	}
	for _, call := range rare {
		cover.Add(play(t, first, aimedBudget, call, memory))
	}
	t.Logf("what was struck:\n%s", cover.Table())
	for _, what := range mustStrike() {
		if cover[what] == 0 {
			t.Errorf("not once in %d histories: %s: %s", n, what.What, what.How)
		}
	}
}

// fastBudget is how many histories the fast lane plays, and aimedBudget how many with all
// that happens aimed at one call that comes seldom.
const fastBudget, aimedBudget = 8000, 1200

// rare are the calls that come so seldom that chance does not strike them in each way.
var rare = []string{
	"Local.RemoveFolder", "Local.ForgetFolder", "Local.RenameFolder", "Local.SetLetters", "Local.Reflag", "Local.Move", "Local.Link", "Local.Remove", "Local.Resume", "Incoming.Keep",
	"Remote.Append", "Remote.Store", "Remote.Move", "Remote.Copy", "Remote.Expunge", "Remote.DeleteFolder", "Remote.RenameFolder",
}

// The second lane: base in SQLite, whose files are taken as they are when a process dies.
func TestHistoriesOnSQLite(t *testing.T) {
	first, n := budget(t, 1000)
	dir := t.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		// Its syncs are not what is tested here.
		if shm, err := os.MkdirTemp("/dev/shm", "mailtwin-"); err == nil {
			dir = shm
			t.Cleanup(func() { os.RemoveAll(shm) })
		}
	}
	lanes := 0
	play(t, first, n, "", func() history.Lane {
		lanes++
		lane, err := history.NewSQLite(fmt.Sprintf("%s/%d", dir, lanes))
		if err != nil {
			t.Fatal(err)
		}
		return lane
	})
}

// Seeds that once failed.
func TestHistoriesThatOnceFailed(t *testing.T) {
	for _, seed := range onceFailed {
		h := history.New(seed)
		h.Setup.Parts, h.Setup.Slow, h.Setup.Live, h.Setup.One = false, false, false, false // of which nobody knew then: it would be another history
		if res := history.Play(h, history.Memory{}, history.Coverage{}); res.Err != nil {
			report(t, seed, "", history.Memory{})
		}
	}
	for _, f := range onceFailedAt {
		h := history.New(f.seed)
		h.AimAt(f.call)
		h.Setup.Slow, h.Setup.Live, h.Setup.One = false, false, false
		if res := history.Play(h, history.Memory{}, history.Coverage{}); res.Err != nil {
			report(t, f.seed, f.call, history.Memory{})
		}
	}
	for _, f := range onceFailedDrawn {
		if res := history.Play(history.New(f.seed).Only(f.steps), history.Memory{}, history.Coverage{}); res.Err != nil {
			t.Errorf("seed %d, steps %v: %v", f.seed, f.steps, res.Err)
		}
	}
	for _, f := range onceFailedSince {
		h := history.New(f.seed)
		if f.steps != nil {
			h = h.Only(f.steps)
		}
		h.Setup.Process, h.Setup.Slow, h.Setup.Live, h.Setup.One = f.process, false, false, false // of which nobody knew then
		if res := history.Play(h, history.Memory{}, history.Coverage{}); res.Err != nil {
			t.Errorf("seed %d, process %d, steps %v: %v", f.seed, f.process, f.steps, res.Err)
		}
	}
}

// onceFailedDrawn are those that are played as they are drawn, by some of their steps.
var onceFailedDrawn = []struct {
	seed  uint64
	steps []int
}{
	{63031277, []int{2, 6, 9, 10, 11, 12, 14, 16, 18, 20, 21}}, // flags of a message that has moved to what cannot be read
	{63104328, []int{10, 15, 19, 22, 23, 25, 28}},              // ... and of one that has left a folder which waits for its name
	{63093705, []int{1, 4, 14, 15, 16, 18, 20, 21, 24}},        // flags of an original that the server does not let go
	// an original that moves there when its file was removed where nothing is pushed
	{63375126, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21, 22, 23, 24, 25, 26}},
	{63692082, []int{5, 14, 15, 16, 17, 18, 23}},
	{63811007, []int{2, 6, 7, 8, 14, 15, 17}},
	{64083254, []int{3, 4, 6, 8, 10, 11, 13, 16, 17}},
	{64122354, []int{1, 4, 6, 14, 16, 19, 23}},
	{64040189, []int{9, 10, 12, 13, 14, 15}},
	{64257309, []int{3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 26}},
	{64202694, []int{6, 9, 13, 14, 17, 19, 21}},
}

// onceFailedSince are those that are played as they are, some of them by some of their steps.
var onceFailedSince = []struct {
	seed    uint64
	process int
	steps   []int
}{
	{60214306, 0, []int{5, 11, 12, 13, 15, 16, 17, 19}},       // a UID that a restored server gives out again, of a copy with a field more
	{60221655, 0, []int{0, 2, 3, 5, 21, 22, 23}},              // told to rename a folder, by a state that is older than its Maildir
	{57000068, 0, []int{0, 2, 3, 7, 12, 13, 15, 16}},          // a flag whose message is in a folder that cannot be made
	{56021052, 0, []int{0, 2, 4, 6, 7, 8, 9, 10, 11, 17, 18}}, // a flag whose message is copied to where it cannot be read
	{56028247, 0, nil},                                        // a message that is flagged here while a phone moves it by copying
	{54011475, 0, []int{7, 8, 12, 16, 20, 23}},                // a file that is kept, and lacks a flag in new/
	{53000184, 0, []int{0, 5, 9, 13, 14, 18, 19, 20, 21, 22}}, // a move that was not ended, of a message that is moved from both of its folders
	{50010734, 0, []int{5, 7, 10, 12, 13, 15}},                // a flag on a file whose message has moved from a folder with new UIDs
	{51000017, 0, nil},                                        // ... and whose state was lost
	{51074258, 0, []int{0, 5, 7, 14, 19, 21, 24}},             // a Maildir restored to what a run that died at once has left
	{52020561, 0, []int{2, 4, 5, 27}},                         // what is kept, in a folder that another device renames
	{52027721, 0, []int{2, 13, 14, 15, 20, 21}},               // a file under two names, of which a program saves one elsewhere
	{35095498, 0, []int{0, 1, 2, 4, 7, 10, 17, 20, 21}},       // a landing whose message is where it cannot be read
	// a file that was saved elsewhere before the folder could be read in which its message is
	{6129, 28007, []int{3, 8, 10, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22}},
	{28040354, 0, []int{6, 9, 11, 12, 14, 15, 16, 17, 21, 23, 25, 26}}, // a file that has links, under both names of its move
	{28000788, 0, []int{1, 3, 5, 8, 11, 13}},                           // a file that a program moves as a run puts it into its place
	{28047721, 0, []int{1, 7, 9, 13, 19}},                              // a move that two runs died in, and the power took back
	{27071300, 0, []int{2, 3, 7, 9, 10, 16, 17, 19, 28}},               // a Maildir restored to what a message has left
	{27100165, 0, []int{3, 4, 8, 9, 10, 12, 14, 16, 17, 24, 25}},       // a file that left a folder which could not be renamed
	{28007390, 0, []int{6, 7, 15, 18, 19, 20, 21, 22, 25}},             // a file that was moved, and removed, of a message that a restored server has where it was
	{31066269, 0, []int{13, 14, 17, 20, 21, 24}},                       // a file that its reader and a run have moved, under both names
	{32011693, 0, []int{0, 6, 8, 15, 17, 22, 24, 27}},                  // a folder that was held, and emptied as its messages moved
	{32061854, 0, []int{2, 3, 6, 7, 15, 16, 17, 18, 19, 21}},           // the same, one of several
	{26099213, 0, []int{3, 4, 6, 8, 9, 11, 12, 17}},                    // told to rename a folder, whose messages are in both
	{30034612, 0, []int{1, 2, 4, 19, 20, 22, 23, 25}},                  // a message that a phone copies on while it moves here
	{30032880, 0, []int{6, 16, 17, 19, 22, 26}},                        // a removal that the power takes back within a tick of the clock
	{31001149, 0, []int{0, 6, 8, 9, 13, 29}},                           // what left a folder on the server before that was renamed, and got new numbers
	{31006213, 0, []int{0, 1, 3, 4, 6, 8, 9, 11, 12, 13, 14, 15}},      // a folder put out of the way that has what another one has
	{31010145, 0, []int{0, 4, 6, 8, 9, 10}},                            // a field that makes one message as large as another
	{31011660, 0, []int{12, 14, 17, 23, 24, 25}},                       // what left a folder as that got new numbers with its name
	{31025604, 0, []int{2, 18, 19, 20, 21, 25}},                        // a message that a phone copies to a folder which is renamed
	{31088006, 0, []int{5, 6, 8, 9, 10, 14, 16, 18}},                   // a file that is saved elsewhere, and that the power leaves in tmp/
	{32032139, 0, []int{4, 8, 10, 16, 18, 21, 22, 24, 26}},             // a UID that a restored server gives out for the second time
	{32043384, 0, []int{5, 12, 13, 15, 17, 18, 19, 20, 22}},            // the same as 31001149, of a copy
	{33071378, 0, []int{2, 4, 7, 8, 13}},                               // what is left of a folder that is gone, which a state has forgotten
	{33136973, 0, []int{11, 14, 20, 25}},                               // two equal messages of which one was read, in a folder that got new UIDs
	{34141130, 0, []int{5, 7, 8, 13, 14, 22, 23}},                      // what the server copied to Trash, and refused to remove, where it tells no UIDNEXT
	{35078160, 0, []int{1, 3, 9, 13, 15, 18, 19, 20, 22, 23, 25, 26}},  // a copy on its way to where its original was thought to be
	{36033306, 0, []int{0, 2, 4, 6, 14, 15, 18, 19, 22}},               // a folder that was held, and made again by a device that had lost its state
	// a backup in the same tick of the clock as what it lacks
	{7207306, 0, []int{8, 10, 13, 14, 15, 16, 20}},
	{20161426, 0, []int{3, 5, 15, 26}}, // a message that came into a folder that was half removed
	{9306817, 0, nil},                  // a file that a reader renamed in the run that held its removal
	{9010838, 0, nil},                  // a copy whose record failed, and with it what said where it is
	{5007382, 0, nil},                  // a file under both names of a move, and a program that moves it on by the old one
	{6037475, 0, nil},                  // a message halfway to another folder when its file was known again
	{10500663, 0, nil},                 // a message that is moved on while it moves, and is in three folders for a moment
	{20094685, 0, nil},                 // a refused file that has moved on when the folder of its message gets new UIDs
	{20085706, 0, nil},                 // a folder that got new UIDs while a device was kept from removing what it had copied
	{20141818, 0, nil},                 // an upload that got nowhere, and an equal message that was copied in Trash
	{10100348, 0, nil},                 // a message that moved to where its copy was, of which base has another UID
	{20100572, 0, nil},                 // a message that moved into a folder whose rename was refused, and elsewhere there
	{20191448, 0, nil},                 // a message that left a folder which had lost track, and could not be read on
	{20033585, 0, nil},                 // a file in Trash that was a copy, and a server that was restored
	{22048946, 0, nil},                 // ... and one that was a copy, and has moved since
	{22096718, 0, nil},                 // the old form of a file that was refused once, and again when its removal was seen
	{22112724, 0, nil},                 // a file that could not be read once it was uploaded
	{23012466, 0, nil},                 // a message halfway to another folder that had just landed, and was flagged
	{23075732, 0, nil},                 // a message that was to follow its file, and could not be read
	{24019347, 0, nil},                 // mail that came into a folder which was not made to the end
	{24099443, 0, nil},                 // a file whose landing was not recorded, and that may not go where it is wanted
	{24116455, 0, nil},                 // a message that has moved to where it cannot be read, and a server without status
	{24129291, 0, nil},                 // the old form of a file that cannot be read
	{26021835, 0, nil},                 // a file that could not be read when its folder got new UIDs
	{26038277, 0, nil},                 // a Maildir that was restored to what base was in step with before it changed
	{26072903, 0, nil},                 // a file that was met in no folder when one of them had lost track
	{27096026, 0, nil},                 // a message whose file is in a folder that had lost track, and failed
	{28061780, 0, nil},                 // a message that moved away and back, and whose file no scan had found
	{24070811, 0, nil},                 // a file that got another name and a field more, and whose message moved
	{20161426, 0, nil},                 // a file that moved while its removal was held, where nothing is pushed
	{6045898, 0, nil},                  // a folder that was removed, and left by the one inside it, before that was recorded
}

// onceFailedAt are those in which all that happened befell one call.
var onceFailedAt = []struct {
	call string
	seed uint64
}{
	{"Local.RemoveFolder", 3031462},  // a bare directory around half a folder
	{"Remote.DeleteFolder", 3032259}, // mail that came to a folder whose removal the server had put off
	{"Local.RemoveFolder", 4000299},  // a folder that was renamed, and that a state one run older does not know
	{"Local.CreateFolder", 4001025},  // an INBOX that was not durable
	{"Local.RemoveFolder", 4000579},  // a folder that could not be listed when it was removed
	{"Local.RemoveFolder", 4001545},  // ... and one that got a message when it was half removed
	{"Remote.RenameFolder", 4001173}, // a bare directory around a folder that somebody removes
	{"Local.SetLetters", 4001229},    // a message that the phone had moved away and back, and was there twice
	{"State.Commit", 4001628},        // a move halfway of what was uploaded, and not recorded
	{"Remote.RenameFolder", 4001379}, // a message that waits since its file has moved to a folder that is held
	{"Local.RemoveFolder", 2761},     // a folder that was removed, and left by the one inside it, before that was recorded
	{"Local.RemoveFolder", 1266},     // a folder that was held, since files are kept, and was made again late
	{"Local.RemoveFolder", 10152},    // ... and one besides it that was held, and might go
	{"Local.RenameFolder", 600261},   // consent within the second in which the disk was written to
}

// onceFailed are the seeds of histories that found something.
var onceFailed = []uint64{
	16, 22, 23, 46, 50, 55, 62, 111, 172, 188, 211, 319, 376, 482, 490, 563, 716, 778, 927, 1031, 1152, 1272, 1591,
	1930, 2310, 2587, 2825, 2837, 2936, 3048, 3559, 3856, 4336, 4596, 8475, 51896, 55072, 55103, 412553,
	422445, 452225, 479548, 507137, 1013337, // one file under two names
	411140, 450084, 808486, // half a folder
	1040865,       // a bare directory that could not be removed
	1044627,       // the new form of a message refused in one round, and the old one gone in the next
	1044359,       // a removal that was not durable when base forgot the file
	1034924,       // a file with the letters of another folder, whose renaming was not durable
	1024326,       // a file that is revived under direction = pull
	900715,        // a download that was not recorded, and then moved, under direction = pull
	909410,        // a file that is renamed while its removal is held
	446457,        // a directory of the store that was not durable
	448070, 23632, // a Maildir that was restored with the times of the other
	405687, 410894, 418508, 419932, 429593, 440125, 442832, 468712, 469385, 474220, 512373, 813997, 900945, 902337, 904255,
	1101555, 1106505, 1121433, 1138195,
	1224866,          // a message that left a held folder to one place here, and to another one there
	1232885,          // a message that left a folder of new UIDs after the others were listed
	1233502,          // ... and one that left it while its files could not be read
	1219421,          // a message that moved away and back, and was in its folder twice meanwhile
	1217057, 2025985, // a message that two had moved and one had removed
	2002135, 2005522, // a new form that waited, and the old one did not
	1286124, 1293330, // a move from a folder that was left, which looked like a copy
	2006422, 2009948, // a phone's move that met another one, or got new UIDs
	2110640,          // a pending file that had left a folder of new UIDs
	2108747,          // files that had left a folder before somebody removed that here
	2146910,          // a folder that was held, and had got other numbers, while another one was lost
	2025540,          // a folder that was removed there after its last message, whose file was just being removed
	3003411,          // a file that was renamed before it was known again, in another folder
	3031205,          // a file that was removed while its message was in two places
	4001025,          // a file under two names whose upload was not recorded
	1294587,          // a file that had moved to a folder which was left for that run
	4130342,          // a file that had moved to a folder which was held
	2027680,          // a folder inside another one that went at the end of a run
	3006065, 1275179, // a folder whose renaming was not durable, and was taken back on the server, too
}

func TestShrinkFindsTheStepsThatMatter(t *testing.T) {
	h := history.New(1)
	plays := 0
	short := history.Shrink(h, 1000, func(h *history.History) bool {
		plays++
		found := 0
		for _, n := range h.Kept {
			if n == 3 || n == 7 {
				found++
			}
		}
		return found == 2
	})
	if got := fmt.Sprint(short.Kept); got != "[3 7]" || len(short.Steps) != 2 || short.Steps[0] != h.Steps[3] {
		t.Errorf("kept %s after %d plays", got, plays)
	}
	if want := "MAILTWIN_SEED=1 MAILTWIN_STEPS=3,7"; short.Command() != want {
		t.Errorf("command %q, want %q", short.Command(), want)
	}
}
