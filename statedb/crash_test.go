package statedb

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// The test program plays other processes when these are set.
const (
	crashEnv = "STATEDB_TEST_COMMIT_UNTIL_KILLED" // the state's path
	batch    = 40                                 // rows in each commit of the child
	rounds   = 8
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		if err := commitUntilKilled(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// copyFile has cp do it: a process that opens and closes a file by itself drops the
// locks that SQLite has on it.
func copyFile(from, to string) error {
	if out, err := exec.Command("cp", "--", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// commitUntilKilled commits batches, and prints the number of each once it is there.
// Batch n sets the folder's generation to n, and all of its rows to n tries.
func commitUntilKilled(path string) error {
	ctx := context.Background()
	db, err := Open(ctx, path)
	if err != nil {
		return err
	}
	folders, err := db.Folders(ctx)
	if err != nil {
		return err
	}
	f := &folders[0]
	var rows []*mail.Row
	for r, err := range db.RowsByUID(ctx, f.ID) {
		if err != nil {
			return err
		}
		rows = append(rows, &r)
	}
	// Bounded, in case nobody kills it.
	for range 100_000 {
		f.Marker.Generation++
		n := int(f.Marker.Generation)
		for _, r := range rows {
			r.Tries = n
			r.Key = mail.Key(fmt.Sprintf("%d.%d", r.UID, n)) // every index has to follow
		}
		fresh := &mail.Row{Folder: f.ID, Key: mail.Key(fmt.Sprint("new ", n)), Tries: n}
		err := db.Commit(ctx, &mail.Batch{PutFolders: []*mail.FolderBase{f}, PutRows: append(rows[:batch:batch], fresh)})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
	return nil
}

func TestKilledWhileCommitting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path)
	f := addFolder(t, db, mail.Inbox)
	fill(t, db, f.ID, batch)
	closeNow(t, db)

	for round := range rounds {
		printed := runUntilKilled(t, path, 3+round*17)
		db := openAt(t, path)
		folders, err := db.Folders(t.Context())
		if err != nil || len(folders) != 1 {
			t.Fatalf("folders are %v, %v", folders, err)
		}
		n := folders[0].Marker.Generation
		// One more may have been committed than the child came to tell.
		if n < printed || n > printed+1 {
			t.Errorf("commit %d was told, and %d is there", printed, n)
		}
		fresh, batched := int64(0), 0
		for r, err := range db.RowsByKey(t.Context(), f.ID, "") {
			switch {
			case err != nil:
				t.Fatal(err)
			case r.UID == 0:
				fresh++
			case int64(r.Tries) == n && string(r.Key) == fmt.Sprintf("%d.%d", r.UID, n):
				batched++
			default:
				t.Errorf("commit %d is torn: row %d has %d tries and the key %q", n, r.UID, r.Tries, r.Key)
			}
		}
		if batched != batch || fresh != n {
			t.Errorf("after commit %d there are %d rows with a UID and %d without", n, batched, fresh)
		}
		if err := db.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if round%2 == 0 {
			closeNow(t, db)
		} else {
			abandon(t, db, path)
		}
	}
}

// runUntilKilled has a child commit at least so many batches, kills it, and gives the
// number that it told last.
func runUntilKilled(t *testing.T, path string, batches int) (last int64) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crashEnv+"="+path)
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for told := 0; ; told++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line that was cut was not told
		}
		if err != nil {
			t.Fatal(err)
		}
		if last, err = strconv.ParseInt(strings.TrimSpace(line), 10, 64); err != nil {
			t.Fatal(err)
		}
		if told == batches {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child ended by itself: %v, %s", err, stderr.String())
	}
	return last
}
