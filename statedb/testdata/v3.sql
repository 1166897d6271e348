-- The schema, version 1. A file that was made with it must be read by every later
-- version: what changes comes as a further step of the ladder in migrate.go, never
-- here.
--
-- Whatever the outside decides (names, keys, keywords, texts) is a BLOB: it may be
-- any bytes, and BLOBs compare byte by byte. Times are seconds since 1970, NULL where
-- there is none. Unsigned numbers of 64 bits stand as the signed ones of equal bits.

-- What there is once: the highest ID of each kind that was ever given out, since an
-- intent may name a row that is gone, and must not find another one in its place; and
-- whether the file was closed properly after its last change.
CREATE TABLE base (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    folders INTEGER NOT NULL,
    rows    INTEGER NOT NULL,
    intents INTEGER NOT NULL,
    clean   INTEGER NOT NULL
) STRICT;
INSERT INTO base VALUES (1, 0, 0, 0, 1);

-- A folder, with how far each side of it has been read. uidvalidity to messages are
-- the cursor of the remote side, stamp_* the stamp of the local one, marker_* the
-- marker in the local folder. read_only to new_keywords are what the server lets one
-- do there, settings the policy that was followed last, lost what became of it since. letters is a list of up to 26 keywords, each with its
-- length before it. name is NULL only inside a commit, while folders change names.
CREATE TABLE folders (
    id                INTEGER PRIMARY KEY,
    name              BLOB    UNIQUE,
    mailbox_id        BLOB    NOT NULL,
    role              BLOB    NOT NULL,
    uidvalidity       INTEGER NOT NULL,
    uidnext           INTEGER NOT NULL,
    modseq            INTEGER NOT NULL,
    messages          INTEGER NOT NULL,
    stamp_folder      INTEGER NOT NULL,
    stamp_cur         INTEGER NOT NULL,
    stamp_new         INTEGER NOT NULL,
    stamp_dev         INTEGER NOT NULL,
    stamp_inode       INTEGER NOT NULL,
    marker_account    BLOB    NOT NULL,
    marker_folder     BLOB    NOT NULL,
    marker_generation INTEGER NOT NULL,
    letters           BLOB    NOT NULL,
    on_local          INTEGER NOT NULL,
    on_remote         INTEGER NOT NULL,
    read_only         INTEGER NOT NULL,
    settable_system   INTEGER NOT NULL,
    settable_keywords BLOB    NOT NULL,
    new_keywords      INTEGER NOT NULL,
    settings          BLOB    NOT NULL,
    verified          INTEGER,
    synced            INTEGER,
    problem           BLOB    NOT NULL,
    lost              INTEGER NOT NULL
) STRICT;

-- A message. uid and key are NULL where it is not on that side, so that any number of
-- rows may lack them while the rest is unique. digest, fingerprint and email_id are empty
-- where they are not known, bare where it is the same as digest. name is the file's name, without the key that it begins with:
-- see packName. There may be a million rows, so what is mostly zero comes as 0 or an
-- empty BLOB, which take no space.
CREATE TABLE rows (
    id            INTEGER PRIMARY KEY,
    folder        INTEGER NOT NULL REFERENCES folders ON DELETE CASCADE,
    uid           INTEGER,
    key           BLOB,
    system        INTEGER NOT NULL,
    keywords      BLOB    NOT NULL,
    state         INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    gone          INTEGER NOT NULL CHECK (gone IN (0, 1)),
    why           BLOB    NOT NULL,
    tries         INTEGER NOT NULL,
    retry_at      INTEGER,
    size          INTEGER NOT NULL,
    digest        BLOB    NOT NULL,
    bare          BLOB    NOT NULL,
    bare_size     INTEGER NOT NULL,
    fingerprint   BLOB    NOT NULL,
    message_id    BLOB    NOT NULL,
    remote_size   INTEGER NOT NULL,
    remote_digest BLOB    NOT NULL,
    email_id      BLOB    NOT NULL,
    date          INTEGER,
    name          BLOB    NOT NULL,
    new           INTEGER NOT NULL,
    dev           INTEGER NOT NULL,
    inode         INTEGER NOT NULL,
    file_size     INTEGER NOT NULL,
    mtime         INTEGER NOT NULL,
    copy_of       INTEGER NOT NULL
, pushed_system INTEGER NOT NULL DEFAULT 0, pushed_keywords BLOB NOT NULL DEFAULT x'', pushed_at INTEGER) STRICT;

-- The two orders in which a folder is compared with its sides.
CREATE UNIQUE INDEX rows_by_uid ON rows (folder, uid);
CREATE UNIQUE INDEX rows_by_key ON rows (folder, key);
-- Candidates for being the same message.
CREATE INDEX rows_by_fingerprint ON rows (fingerprint);
CREATE INDEX rows_by_date ON rows (date, size);
CREATE INDEX rows_by_remote_size ON rows (remote_size) WHERE remote_size <> 0;
-- The few rows that are not settled.
CREATE INDEX rows_by_state ON rows (state, folder) WHERE state <> 0;

-- An action on the server that is about to happen, and whose effect could not be
-- recognised afterwards without knowing this. row may name a row that is gone.
CREATE TABLE intents (
    id          INTEGER PRIMARY KEY,
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    row         INTEGER NOT NULL,
    folder      INTEGER NOT NULL REFERENCES folders ON DELETE CASCADE,
    key         BLOB    NOT NULL,
    size        INTEGER NOT NULL,
    digest      BLOB    NOT NULL,
    fingerprint BLOB    NOT NULL,
    message_id  BLOB    NOT NULL,
    uidvalidity INTEGER NOT NULL,
    uidnext     INTEGER NOT NULL,
    created     INTEGER
) STRICT;
CREATE INDEX intents_by_folder ON intents (folder);

-- The newest decisions that overruled somebody. They name things as they were, since
-- the rows may be long gone.
CREATE TABLE decisions (
    id         INTEGER PRIMARY KEY,
    at         INTEGER,
    folder     BLOB    NOT NULL,
    message_id BLOB    NOT NULL,
    uid        INTEGER NOT NULL,
    key        BLOB    NOT NULL,
    what       BLOB    NOT NULL,
    why        BLOB    NOT NULL
) STRICT;

-- The last run, if there was one, for people who ask how the account is doing.
CREATE TABLE last_run (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    started  INTEGER,
    finished INTEGER,
    ok       INTEGER NOT NULL,
    error    BLOB    NOT NULL,
    report   BLOB    NOT NULL
) STRICT;
