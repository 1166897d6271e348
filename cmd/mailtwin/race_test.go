//go:build race

package main

// raceMemory is how many times the memory of a program the race detector takes, at the
// most (5 to 10 times what is in use, by its manual; here much of it is the runtime's).
const raceMemory = 4
