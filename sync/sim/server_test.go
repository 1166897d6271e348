package sim_test

import (
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/remotetest"
)

// phone is the account as another program sees it, for the conformance suite.
type phone struct {
	*testing.T
	server *sim.Server
}

func (p phone) Deliver(folder mail.Folder, raw []byte, flags mail.Flags, date time.Time) mail.UID {
	p.Helper()
	uid := p.server.Deliver(folder, raw, flags, date)
	if uid == 0 {
		p.Fatalf("deliver to %s: no such folder", folder)
	}
	return uid
}

func (p phone) AddFlags(folder mail.Folder, uid mail.UID, flags mail.Flags) {
	p.Helper()
	p.done(p.server.AddFlags(folder, uid, flags))
}

func (p phone) RemoveFlags(folder mail.Folder, uid mail.UID, flags mail.Flags) {
	p.Helper()
	p.done(p.server.RemoveFlags(folder, uid, flags))
}

func (p phone) Delete(folder mail.Folder, uid mail.UID) {
	p.Helper()
	p.done(p.server.Expunge(folder, uid))
}

func (p phone) CreateFolder(folder mail.Folder) {
	p.Helper()
	p.done(p.server.CreateFolder(folder))
}

func (p phone) DeleteFolder(folder mail.Folder) {
	p.Helper()
	p.done(p.server.DeleteFolder(folder))
}

func (p phone) Messages(folder mail.Folder) (all []remotetest.Message) {
	for _, m := range p.server.Messages(folder) {
		all = append(all, remotetest.Message(m))
	}
	return all
}

func (p phone) done(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func TestServerKeepsThePromisesOfARemote(t *testing.T) {
	servers := []struct {
		name    string
		options sim.Options
	}{
		{"good", sim.Options{}},
		{"without CONDSTORE", sim.Options{NoCondStore: true}},
		{"without UIDPLUS", sim.Options{NoUIDPlus: true}},
		{"without MOVE", sim.Options{NoMove: true}},
		{"without STATUS", sim.Options{NoStatus: true, NoObjectID: true}},
		{"without keywords", sim.Options{NoKeywords: true}},
		{"with MESSAGELIMIT", sim.Options{MessageLimit: true}},
		{"with EMAILIDs", sim.Options{EmailIDs: true}},
		{"without anything", sim.Options{NoCondStore: true, NoUIDPlus: true, NoMove: true, NoStatus: true, NoKeywords: true}},
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			remotetest.Run(t, func(t *testing.T) (engine.Remote, remotetest.Phone) {
				server := sim.NewServer()
				server.Options = s.options
				return server.Client(), phone{t, server}
			})
		})
	}
}
