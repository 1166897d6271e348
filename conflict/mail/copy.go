package mail

import (
	"io"
	"sync"
)

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// Copy is io.Copy. Messages are many and small, and a buffer for each of them would be
// most of what is allocated for it.
func Copy(to io.Writer, from io.Reader) (int64, error) {
	b := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(b)
	return io.CopyBuffer(to, from, b[:])
}
