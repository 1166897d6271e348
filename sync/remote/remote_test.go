package remote_test

import (
	"mailtwin/sync"
	"mailtwin/sync/remote"
)

var _ sync.Remote = (*remote.Account)(nil)
