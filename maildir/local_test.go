package maildir_test

import (
	"mailtwin/maildir"
	"mailtwin/sync"
)

var _ sync.Local = (*maildir.Tree)(nil)
