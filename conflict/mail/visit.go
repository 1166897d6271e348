package mail

// Visit is what is to be done about messages of one folder of the server, and what became of
// it. Flags are stored first, then messages are expunged, and others move; what fails of that
// does not keep the rest from being tried.
type Visit struct {
	Folder   Folder
	Validity uint32 // the UIDVALIDITY that the UIDs were read under

	Stores []*FlagChange
	// Expunge are removed for ever, exactly these, by UID EXPUNGE (RFC 4315).
	Expunge  UIDSet
	Expunged error
	Moves    []*Moving

	// Look, unless nil, is what a Scan is going to ask about the folder once all this is done. It
	// is asked in the same breath, and the answer kept for that Scan, as Ahead does. Nothing else
	// may be brought into the folder meanwhile.
	Look *Query
}

// Empty tells whether nothing is to be done about messages.
func (v *Visit) Empty() bool { return len(v.Stores)+len(v.Moves)+len(v.Expunge) == 0 }

// FlagChange adds and removes flags of messages, and touches no others.
type FlagChange struct {
	UIDs        UIDSet
	Add, Remove Flags

	// Messages that are gone are passed over; so Met are those of which the server says that
	// it changed them. It may leave out some that were not gone.
	Met map[UID]bool
	Err error
}

// Moving brings a message to another folder by a MOVE of its own (RFC 6851).
type Moving struct {
	UID UID
	To  Folder

	There UID // its UID where it is now; 0 where the server does not tell, and with an error
	// Err is ErrGone where there was no such message, but a server without UIDPLUS may not tell
	// that. What was sent behind something that broke the connection may have moved.
	Err error
}

// Fail gives all that was to be done an error.
func (v *Visit) Fail(err error) {
	for _, c := range v.Stores {
		c.Err = err
	}
	for _, m := range v.Moves {
		m.Err = err
	}
	if len(v.Expunge) > 0 {
		v.Expunged = err
	}
}
