//go:build race

package main

import "os"

// A process with the race detector sleeps for a second before it exits, though reports that are
// being written are waited for in any case. The tests start hundreds of them.
func init() {
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
}

// raceMemory is how many times the memory of a program the race detector takes, at the
// most (5 to 10 times what is in use, by its manual; here much of it is the runtime's).
const raceMemory = 4
