package mail

// Announced is what a server has said, unasked, of a folder.
type Announced struct {
	Folder Folder
	// Status is the last that it said; what it did not say is 0.
	Status  Cursor
	Counted bool // it said how many messages there are
	// Listed and Gone: it said last that there is such a folder, or that there is none.
	Listed, Gone bool
}
