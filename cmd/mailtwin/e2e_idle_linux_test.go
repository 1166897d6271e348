package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// idle counts the system calls about files of a run that has nothing to do.
func (d *computer) idle() map[string]int {
	d.Helper()
	text := d.strace("-c", "-e", "trace=%file,read,pread64,getdents64,fsync")
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		// % time, seconds, usecs/call, calls, errors if any, syscall
		if f := strings.Fields(line); len(f) >= 5 && f[0] != "%" && f[len(f)-1] != "total" {
			n, err := strconv.Atoi(f[3])
			if err != nil {
				continue
			}
			counts[f[len(f)-1]] += n
		}
	}
	return counts
}

// A run with nothing to do asks the system three things about each folder: of itself, of its
// cur/, and of its new/. Messages cost nothing, nor does what else it does grow with folders.
func TestAnIdleRunLooksAtEachFolderThreeTimes(t *testing.T) {
	t.Parallel()
	s := onDovecot()(t)
	d := s.device("laptop")
	more := func(from, to, messages int) {
		for i := from; i < to; i++ {
			name := mail.Folder(fmt.Sprint("Lists/", i))
			s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
			for n := range messages {
				s.deliver(name, note(fmt.Sprint(i, "message ", n)), seen)
			}
		}
		d.sync()
		d.rests()
	}
	const some, many = 10, 50
	more(0, some, 1)
	few := d.idle()
	more(some, many, 20)
	all := d.idle()
	t.Logf("%d folders: %v; %d: %v", some, few, many, all)
	looks := 0
	for name, n := range all {
		switch name {
		case "lstat", "stat", "newfstatat", "statx":
			looks += n - few[name]
		case "read", "pread64": // what the server says is read in pieces, and base in pages
			if n-few[name] > (many-some)/2 {
				t.Errorf("%s: %d calls for %d folders, %d for %d", name, few[name], some, n, many)
			}
		default:
			if n > few[name] {
				t.Errorf("%s: %d calls for %d folders, %d for %d", name, few[name], some, n, many)
			}
		}
	}
	if looks != 3*(many-some) {
		t.Errorf("%d looks at %d more folders", looks, many-some)
	}
}
