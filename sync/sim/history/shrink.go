package history

import "slices"

// Shrink looks for a shorter history that still fails, by leaving out steps, and gives the
// shortest that it found. fails plays a history, and tells whether it fails in the way
// that is looked into; it is called no more than budget times.
func Shrink(h *History, budget int, fails func(*History) bool) *History {
	kept := h.Kept
	if kept == nil {
		for n := range h.Steps {
			kept = append(kept, n)
		}
	}
	whole := New(h.Seed)
	whole.AimAt(h.Aim)
	for size := max(1, len(kept)/2); ; size /= 2 {
		for again := true; again; {
			again = false
			for from := 0; from < len(kept) && budget > 0; {
				less := slices.Delete(slices.Clone(kept), from, min(from+size, len(kept)))
				budget--
				if fails(whole.Only(less)) {
					kept, again = less, true
				} else {
					from += size
				}
			}
		}
		if size <= 1 || budget <= 0 {
			return whole.Only(kept)
		}
	}
}
