// Package sync is the engine: it gathers what changed on both sides, asks conflict
// for a plan, carries the plan out in an order that survives a crash after any
// step, and records what both sides now agree on.
//
// It knows neither files nor SQL nor the protocol, only the three interfaces of
// sides.go, which maildir, sync/remote and statedb fulfil.
package sync
