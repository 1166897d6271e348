package sim

import (
	"errors"
	"slices"
	gosync "sync"
	"sync/atomic"

	engine "mailtwin/sync"
)

// ErrCrashed is what every call gives once the process is dead.
var ErrCrashed = errors.New("the process has crashed")

// Crash stands between the engine and its three sides and stops it dead, as SIGKILL
// does, at one of its steps. A step is the moment before or after an effect on any
// of the sides; a stop after an effect loses the effect's answer. From then on no
// call has any effect, from whichever goroutine, nor any answer but ErrCrashed.
//
// A crash matrix runs once with NewCrash(0) to learn the number of Steps, and then
// once for each of them.
type Crash struct {
	// Stop, if not nil, is called at the step where the process dies, before anything
	// is told ErrCrashed. It can kill the process for real.
	Stop func()
	// Strike, if not nil, is asked at each step, which is "before" or "after" an effect.
	// What is ErrCrashed kills the process there, any other error is the effect's: before
	// it nothing happens, after it the answer is lost. Then no names are kept.
	Strike func(when, effect string) error

	at   int
	dead atomic.Bool
	// effects is held for reading by each effect while it happens, and for writing by
	// the death, which so has each effect either whole before it or not at all.
	effects gosync.RWMutex

	mu    gosync.Mutex
	names []string
}

// NewCrash stops at the step of that number, counted from 1; never, if at is 0.
func NewCrash(at int) *Crash { return &Crash{at: at} }

// Steps counts the steps that were reached.
func (c *Crash) Steps() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.names)
}

// Names gives the steps in their order, as in "before Local.Publish".
func (c *Crash) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.names)
}

// Crashed tells whether the process is dead.
func (c *Crash) Crashed() bool { return c.dead.Load() }

// Local wraps the local side.
func (c *Crash) Local(l engine.Local) engine.Local { return &crashLocal{c, l} }

// Remote wraps the remote side.
func (c *Crash) Remote(r engine.Remote) engine.Remote { return &crashRemote{c, r} }

// State wraps base.
func (c *Crash) State(s engine.State) engine.State { return &crashState{c, s} }

// Alive gives ErrCrashed once the process is dead.
func (c *Crash) Alive() error {
	if c.dead.Load() {
		return ErrCrashed
	}
	return nil
}

// step reaches a step, and dies if it is the one.
func (c *Crash) step(when, effect string) error {
	if err := c.Alive(); err != nil {
		return err
	}
	if c.Strike != nil {
		err := c.Strike(when, effect)
		if errors.Is(err, ErrCrashed) {
			return c.die()
		}
		return err
	}
	c.mu.Lock()
	c.names = append(c.names, when+" "+effect)
	last := len(c.names) == c.at
	c.mu.Unlock()
	if !last {
		return nil
	}
	return c.die()
}

// Kill stops the process dead in the middle of an effect, from within it: what the effect
// has done so far stays. Other goroutines may be in the middle of others.
func (c *Crash) Kill() error {
	c.dead.Store(true)
	return ErrCrashed
}

// die stops the process dead between two steps.
func (c *Crash) die() error {
	c.effects.Lock()
	defer c.effects.Unlock()
	if c.Stop != nil {
		c.Stop()
	}
	c.dead.Store(true)
	return ErrCrashed
}

// act does what has an effect, between its two steps. The error of an effect that
// was refused is an answer as any other.
func act[T any](c *Crash, name string, do func() (T, error)) (T, error) {
	var none T
	if err := c.step("before", name); err != nil {
		return none, err
	}
	answer, err := quiet(c, do)
	if crashed := c.step("after", name); crashed != nil {
		return none, crashed
	}
	return answer, err
}

// quiet does what has an effect and makes no step of it.
func quiet[T any](c *Crash, do func() (T, error)) (T, error) {
	over, err := c.begin()
	if err != nil {
		var none T
		return none, err
	}
	defer over()
	return do()
}

// begin begins an effect, unless the process is dead, and gives what ends it.
func (c *Crash) begin() (over func(), err error) {
	c.effects.RLock()
	if err := c.Alive(); err != nil {
		c.effects.RUnlock()
		return nil, err
	}
	return c.effects.RUnlock, nil
}

// look does what has no effect.
func look[T any](c *Crash, do func() (T, error)) (T, error) {
	var none T
	if err := c.Alive(); err != nil {
		return none, err
	}
	answer, err := do()
	if crashed := c.Alive(); crashed != nil {
		return none, crashed
	}
	return answer, err
}

// effect and read are act and look for what answers nothing but an error.
func (c *Crash) effect(name string, do func() error) error {
	_, err := act(c, name, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (c *Crash) read(do func() error) error {
	_, err := look(c, func() (struct{}, error) { return struct{}{}, do() })
	return err
}
