package main

import (
	"context"
	"fmt"
	"strings"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	"mailtwin/statedb"
	engine "mailtwin/sync"
	"mailtwin/sync/remote"
	"mailtwin/sync/watch"
)

// announcer makes the links of an account's loop.
type announcer struct {
	app     *App
	account config.Account
	guard   *guard
	said    string // which patterns chose nothing last
}

// Connect is watch.Remote.Connect.
func (n *announcer) Connect(ctx context.Context) (watch.Link, error) {
	acc := n.account
	server := n.app.server(acc, true)
	var listed []mail.Folder
	linking, done := n.guard.watch(ctx, func() int64 { t := server.Traffic(); return t.BytesIn })
	listener, err := server.Listen(linking, func(f mail.Folder) bool {
		listed = append(listed, f)
		return acc.Selected(f) && acc.Idle.Match(f)
	})
	done(err)
	if len(listed) > 0 {
		n.tell(acc.Idle.Idle(listed))
	}
	link := &link{Listener: listener, app: n.app, account: acc, server: server}
	if err != nil {
		link.hangUp()
		if ctx.Err() == nil {
			n.app.log.Info("nothing is listened to", "account", acc.Name, "reason", clean(err.Error()))
		}
		return nil, err
	}
	n.app.log.Info("listening", "account", acc.Name, "everything", listener.CoversAll())
	return link, nil
}

// tell says which patterns of idle choose no folder, unless it has said so.
func (n *announcer) tell(patterns []string) {
	if text := strings.Join(patterns, "\n"); text != n.said {
		n.said = text
		for _, p := range patterns {
			n.app.complain(n.account.Name, "", fmt.Errorf("the pattern %q in idle matches no folder", p), "")
		}
	}
}

// link is what an account's server announces, as the loop hears it.
type link struct {
	*remote.Listener
	app     *App
	account config.Account
	server  *remote.Account
}

// News is watch.Link.News.
func (k *link) News(ctx context.Context) bool {
	told, all := k.Announced()
	if !all {
		return true
	}
	news := true
	err := k.app.withState(ctx, k.account, func(db *statedb.DB) (err error) {
		news, err = engine.News(ctx, db, told, k.account.Selected)
		return err
	})
	return news || err != nil
}

// Close is watch.Link.Close.
func (k *link) Close() {
	k.Listener.Close()
	k.hangUp()
}

func (k *link) hangUp() {
	if err := k.server.Close(); err != nil {
		k.app.log.Warn("close", "account", k.account.Name, "error", clean(err.Error()))
	}
}
