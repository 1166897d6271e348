package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// insideUser says that this process is in a user namespace of its own; only the test reads it.
const insideUser = "MAILTWIN_TEST_USER"

// Where the user has no watches left, the kernel refuses more of them. Then the watch says once how
// to raise the limit, and finds by itself what changes.
func TestWatchWithoutWatchesLeft(t *testing.T) {
	if os.Getenv(insideUser) == "" {
		asAnotherUser(t)
		return
	}
	for name, limit := range map[string]int{"none": 0, "those of INBOX": 3} {
		t.Run(name, func(t *testing.T) {
			const file = "/proc/sys/user/max_inotify_watches" // of this namespace
			if err := os.WriteFile(file, fmt.Append(nil, limit), 0o600); err != nil {
				t.Skipf("the system does not let a process have a limit of its own: %v", err)
			}
			s := embedded(t)
			d := s.device("laptop", `poll_interval = "1h"`)
			d.looks = 100 * time.Millisecond
			s.deliver("Archive", note("first"), seen)
			d.sync()
			w := d.watch(nil)
			w.says("cannot be watched, since the user has no more inotify watches")
			w.run()
			for _, folder := range []string{"INBOX", "Archive"} {
				d.save(mail.Folder(folder), "cur", folder+".saved.host:2,S", note("saved in "+folder), then)
				w.until("a new file", func(r engine.Report) bool { return r.Remote.New == 1 })
			}
			d.reflag(d.find("Archive", "first"), "FS")
			w.until("a flag", func(r engine.Report) bool { return r.Remote.Flags == 1 })
			d.remove(d.find("Archive", "first"))
			w.until("a removal", func(r engine.Report) bool { return r.Remote.Removed == 1 })
			r := w.stop()
			d.said(r.stderr, "mailtwin: alice: ", "raise the limit (sysctl fs.inotify.max_user_watches=")
			if r.code != 0 || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("it ended with %d, and said %q", r.code, r.stderr)
			}
		})
	}
}

// asAnotherUser runs the test in a process that is root in a user namespace of its own.
func asAnotherUser(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideUser+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("%s", out)
	case errors.As(err, &exit):
		t.Errorf("%s", out)
	default: // no program is missing; as in many containers
		t.Skipf("the system does not let a process have a user namespace of its own: %v", err)
	}
}
