package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"mailtwin/conflict/mail"
)

// smallMessage is how large a file may be to be kept in memory between the two
// looks that an upload needs, in octets.
const smallMessage = 256 << 10

// Read is Local.Read. mail.ErrChanged: somebody writes to the file.
func (t *Tree) Read(ctx context.Context, folder mail.Folder, file mail.File) (src mail.Source, err error) {
	defer explainFile(&err, "read", folder, file.Name)
	dir, err := t.dir(folder)
	if err != nil {
		return nil, err
	}
	name, err := pathOf(dir, file)
	if err != nil {
		return nil, err
	}
	f, err := t.fs.Open(name)
	if err != nil {
		return nil, t.gone(unreadable(err), dir, subdir(file.New))
	}
	s := &source{folder: folder, name: file.Name, file: f}
	if err := s.measure(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.content != nil { // the file is not needed any more
		return s, s.Close()
	}
	return s, nil
}

// unreadable makes mail.ErrDamaged of the errors that say that this file cannot be
// read, whatever the state of everything else.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EIO) {
		return fmt.Errorf("%w: %w", mail.ErrDamaged, err)
	}
	return err
}

// source is a message file that is being uploaded.
type source struct {
	folder  mail.Folder
	name    string
	file    Reader // nil once it is closed
	content []byte // of a small message; nil for a large one
	id      mail.Identity
	stat    mail.Stat
	written bool
}

func (s *source) Identity() mail.Identity { return s.id }
func (s *source) Stat() mail.Stat         { return s.stat }

func (s *source) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// measure reads the whole file once.
func (s *source) measure(ctx context.Context) error {
	info, err := s.file.Info()
	if err != nil {
		return err
	}
	if info.Type != 0 {
		return fmt.Errorf("no regular file: %w", mail.ErrDamaged)
	}
	s.stat = statOf(info)
	var m mail.Measure
	var all bytes.Buffer
	// One octet more than the file has tells a file that grows from one that does not.
	from, n := io.LimitReader(stoppable{ctx, s.file}, info.Size+1), int64(0)
	if info.Size <= smallMessage {
		all.Grow(int(info.Size) + bytes.MinRead) // content is not nil even if it is empty
		n, err = all.ReadFrom(from)
		m.Write(all.Bytes())
	} else {
		n, err = io.Copy(&m, from)
	}
	if err != nil {
		return unreadable(err)
	}
	after, err := s.file.Info()
	if err != nil {
		return err
	}
	if n != info.Size || statOf(after) != s.stat {
		return mail.ErrChanged
	}
	s.id, s.content = m.Identity(), all.Bytes()
	return nil
}

// WriteTo is Source.WriteTo.
func (s *source) WriteTo(w io.Writer) (n int64, err error) {
	defer explainFile(&err, "send", s.folder, s.name)
	if s.written || s.content == nil && s.file == nil {
		return 0, errors.New("it was sent or closed before")
	}
	s.written = true
	count := &counter{w: w}
	lines := &mail.ToWire{W: count}
	if s.content != nil {
		_, err := lines.Write(s.content)
		return count.n, err
	}
	err = s.again(lines)
	return count.n, err
}

// again reads a large file a second time, and keeps its last block until it is sure
// that this was the same as the first time.
func (s *source) again(w io.Writer) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var m mail.Measure
	left := s.stat.Size
	from := io.LimitReader(s.file, s.stat.Size+1)
	held, next := make([]byte, 0, blockSize), make([]byte, blockSize)
	for {
		n, err := io.ReadFull(from, next)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return unreadable(err)
		}
		if n == 0 {
			break
		}
		if left -= int64(n); left < 0 {
			return mail.ErrChanged // it grew, and what is held was not its end
		}
		m.Write(next[:n]) // never fails
		if _, err := w.Write(held); err != nil {
			return err
		}
		held, next = next[:n], held[:blockSize]
	}
	if id := m.Identity(); id.Size != s.id.Size || id.Digest != s.id.Digest {
		return mail.ErrChanged
	}
	_, err := w.Write(held)
	return err
}

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// stoppable ends a long read when its context ends.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p[:min(len(p), 1<<20)])
}
