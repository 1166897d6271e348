// Package network tells when there may be a way to the servers again: an address has appeared, or
// a link has come up. That is a hint, and no more. It does not know which server is meant, nor
// whether it can be reached.
package network

import (
	"fmt"
	"net"
)

// ways are what packets may go by: the links that carry, and the addresses that others may answer
// to.
func ways() (map[string]bool, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("look at the network's links: %w", err)
	}
	all := map[string]bool{}
	for _, l := range links {
		if l.Flags&(net.FlagUp|net.FlagRunning|net.FlagLoopback) == net.FlagUp|net.FlagRunning {
			all[l.Name] = true
		}
		addrs, err := l.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			// Those of a link alone are there as soon as it is up.
			if at, ok := a.(*net.IPNet); ok && at.IP.IsGlobalUnicast() {
				all[l.Name+" "+a.String()] = true
			}
		}
	}
	return all, nil
}

// appeared tells whether there is a way that was not there before. Addresses are told of time and
// again as they are renewed, and links as their signal changes.
func appeared(before, now map[string]bool) bool {
	for way := range now {
		if !before[way] {
			return true
		}
	}
	return false
}
