package maildir

// OpenDisk opens a directory of the machine as the FS that Trees have.
func OpenDisk(path string) (FS, error) { return openDisk(path) }
