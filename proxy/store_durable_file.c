/* store_durable_file.c - the records, in SQLite.
 *
 * Write-ahead log, synchronous=FULL: a commit is on the disk when it returns, so that not even a
 * loss of power gives back what was reserved.  The lock on the file is exclusive and kept: two
 * processes that count in one file would each admit the whole. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto.h"
#include "store_durable_private.h"

#define APPLICATION_ID 0x51477374 /* "QGst" */
#define FORMAT_VERSION 1
#define PAGES_MAX      65536 /* of 4 KiB; RATE_ENTRIES_MAX records take a quarter */
#define FORGET_MIN     64    /* records looked at in one write */
#define FORGET_MAX     1024
#define NUMBER(n)      #n
#define NUMBER_OF(m)   NUMBER(m)

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    PUT,
    REMOVE,
    SCAN,
    CLEAR,
    MARK,
    SPEND,
    EXPIRE,
    ACCOUNTS,
    STATEMENTS
};

static const char *const texts[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PUT] = "INSERT OR REPLACE INTO record(kind, key, due, value) VALUES(?1, ?2, ?3, ?4)",
    [REMOVE] = "DELETE FROM record WHERE kind = ?1 AND key = ?2",
    [SCAN] = "SELECT kind, key, due, value FROM record WHERE (kind, key) > (?1, ?2) "
             "ORDER BY kind, key LIMIT ?3",
    [CLEAR] = "DELETE FROM record",
    [MARK] = "UPDATE file SET clean = ?1",
    [SPEND] = "INSERT OR REPLACE INTO account(key, due, spent) VALUES(?1, ?2, ?3)",
    [EXPIRE] = "DELETE FROM account WHERE due < ?1",
    [ACCOUNTS] = "SELECT key, due, spent FROM account",
};

struct state_file {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct hash_key hash_key;
    bool was_clean;
    struct record cursor;                /* the record that was looked at last, to forget it */
    struct record forgotten[FORGET_MAX]; /* in this write */
};

/* ---- Statements ---- */

static bool run(struct state_file *f, enum statement which) {
    int result = sqlite3_step(f->statements[which]);
    sqlite3_reset(f->statements[which]);
    return result == SQLITE_DONE;
}

static void bind_key(sqlite3_stmt *s, const struct record *r) {
    sqlite3_bind_int(s, 1, (int)r->kind);
    sqlite3_bind_blob(s, 2, &r->key, sizeof(r->key), SQLITE_TRANSIENT);
}

static bool put_account(struct state_file *f, const struct record *r) {
    sqlite3_stmt *s = f->statements[SPEND];
    sqlite3_bind_blob(s, 1, &r->key, sizeof(r->key), SQLITE_TRANSIENT);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)r->due_ns);
    sqlite3_bind_blob(s, 3, r->account.at, (int)r->account.len, SQLITE_STATIC);
    return run(f, SPEND);
}

static bool put(struct state_file *f, const struct record *r) {
    if (r->kind == RECORD_ACCOUNT)
        return put_account(f, r);
    sqlite3_stmt *s = f->statements[PUT];
    bind_key(s, r);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)r->due_ns);
    sqlite3_bind_int64(s, 4, (sqlite3_int64)r->value);
    return run(f, PUT);
}

static bool remove_record(struct state_file *f, const struct record *r) {
    bind_key(f->statements[REMOVE], r);
    return run(f, REMOVE);
}

static bool mark(struct state_file *f, bool clean) {
    sqlite3_bind_int(f->statements[MARK], 1, clean);
    return run(f, MARK);
}

/* False: it is no record of ours. */
static bool read_record(sqlite3_stmt *s, struct record *out) {
    const void *key = sqlite3_column_blob(s, 1);
    if (key == NULL || sqlite3_column_bytes(s, 1) != sizeof(out->key) ||
        sqlite3_column_int64(s, 2) < 0)
        return false;
    out->kind = (enum record_kind)sqlite3_column_int(s, 0);
    memcpy(&out->key, key, sizeof(out->key));
    out->due_ns = (uint64_t)sqlite3_column_int64(s, 2);
    out->value = (uint64_t)sqlite3_column_int64(s, 3);
    return true;
}

static sqlite3_stmt *scan_after(struct state_file *f, const struct record *last, int most) {
    sqlite3_stmt *s = f->statements[SCAN];
    bind_key(s, last);
    sqlite3_bind_int(s, 3, most);
    return s;
}

/* What sqlite says is wrong, once the transaction is undone. */
static const char *undo(struct state_file *f) {
    static _Thread_local char why[200];
    snprintf(why, sizeof(why), "%s", sqlite3_errmsg(f->db));
    if (!sqlite3_get_autocommit(f->db))
        run(f, ROLLBACK);
    return why;
}

/* ---- Writing ---- */

/* Looks at the next records, in the order of their keys, for those that are due. */
static bool forget(struct state_file *f, size_t most, uint64_t now_ns, bool *rest) {
    size_t count = 0, seen = 0;
    int result;
    bool from_start = f->cursor.kind == 0;
    sqlite3_stmt *s = scan_after(f, &f->cursor, (int)most);
    while ((result = sqlite3_step(s)) == SQLITE_ROW && read_record(s, &f->cursor)) {
        seen++;
        if (f->cursor.due_ns < now_ns)
            f->forgotten[count++] = f->cursor;
    }
    sqlite3_reset(s);
    if (seen < most) /* The end: from the start the next time. */
        f->cursor = (struct record){.kind = 0};
    *rest = !from_start || seen == most || seen > count;
    for (size_t i = 0; i < count && result == SQLITE_DONE; i++)
        if (!remove_record(f, &f->forgotten[i]))
            return false;
    return result == SQLITE_DONE;
}

const char *state_file_write(struct state_file *f, const struct record *records, size_t count,
                             uint64_t now_ns, bool *rest) {
    size_t looks = 2 * count + FORGET_MIN;
    bool ok = run(f, BEGIN) && forget(f, looks < FORGET_MAX ? looks : FORGET_MAX, now_ns, rest);
    for (size_t i = 0; i < count && ok; i++)
        ok = put(f, &records[i]);
    if (!ok || !run(f, COMMIT))
        return undo(f);
    *rest = *rest || count > 0;
    return NULL;
}

const char *state_file_try(struct state_file *f) {
    return mark(f, false) ? NULL : undo(f);
}

const char *state_file_replace(struct state_file *f, bool (*next)(void *cookie, struct record *),
                               void *cookie) {
    struct record r;
    bool ok = run(f, BEGIN) && run(f, CLEAR);
    while (ok && next(cookie, &r))
        ok = put(f, &r);
    return ok && mark(f, true) && run(f, COMMIT) ? NULL : undo(f);
}

/* ---- Opening ---- */

static bool fail(char *error, size_t len, const char *path, const char *why) {
    snprintf(error, len, "%s: %s", path, why);
    return false;
}

/* Nobody else's: whoever writes it gives himself tokens. */
static bool make_private(const char *path, char *error, size_t len) {
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    bool ok = fd >= 0 && fstat(fd, &st) == 0;
    if (!ok)
        fail(error, len, path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        ok = fail(error, len, path, "not a regular file");
    else if ((st.st_mode & 077) != 0)
        ok = fail(error, len, path, "others may read or write it: chmod 600");
    if (fd >= 0)
        close(fd);
    return ok;
}

/* What a start that failed should say: sqlite's own words, but for the one that happens. */
static const char *why_not(sqlite3 *db) {
    switch (sqlite3_errcode(db)) {
    case SQLITE_BUSY:
        return "another process uses it";
    case SQLITE_NOTADB:
        return "not a state file, or damaged: move it away to start with nothing owed";
    case SQLITE_CORRUPT:
        return "damaged: move it away to start with nothing owed";
    default:
        return sqlite3_errmsg(db);
    }
}

/* The one number that a query answers with; -1: none. */
static sqlite3_int64 number(sqlite3 *db, const char *query) {
    sqlite3_stmt *s = NULL;
    sqlite3_int64 n = -1;
    if (sqlite3_prepare_v2(db, query, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

static bool make_tables(sqlite3 *db) {
    static const char sql[] =
        "BEGIN;"
        "CREATE TABLE file(hash_key BLOB NOT NULL, clean INTEGER NOT NULL) STRICT;"
        "CREATE TABLE record(kind INTEGER NOT NULL, key BLOB NOT NULL, due INTEGER NOT NULL,"
        "  value INTEGER NOT NULL, PRIMARY KEY(kind, key)) STRICT, WITHOUT ROWID;"
        "PRAGMA application_id = " NUMBER_OF(APPLICATION_ID) ";"
                                                             "PRAGMA user_version = " NUMBER_OF(
                                                                 FORMAT_VERSION) ";";
    struct hash_key key = crypto_hash_key();
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK &&
              sqlite3_prepare_v2(db, "INSERT INTO file VALUES(?1, 1)", -1, &s, NULL) == SQLITE_OK &&
              sqlite3_bind_blob(s, 1, &key, sizeof(key), SQLITE_STATIC) == SQLITE_OK &&
              sqlite3_step(s) == SQLITE_DONE;
    sqlite3_finalize(s);
    return ok && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
}

/* Of a later date than the others, so files that have none get it. */
static bool make_accounts(sqlite3 *db) {
    return sqlite3_exec(db,
                        "CREATE TABLE IF NOT EXISTS account(key BLOB PRIMARY KEY, due INTEGER NOT "
                        "NULL, spent BLOB NOT NULL) STRICT, WITHOUT ROWID",
                        NULL, NULL, NULL) == SQLITE_OK;
}

/* The lock comes first: all that follows is then read from a file that nobody else changes. */
static bool open_tables(struct state_file *f, const char *path, char *error, size_t len) {
    static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;"
                                   "PRAGMA trusted_schema = OFF;"
                                   "PRAGMA cell_size_check = ON;"
                                   "BEGIN EXCLUSIVE; COMMIT;"
                                   "PRAGMA journal_mode = WAL;"
                                   "PRAGMA synchronous = FULL;"
                                   "PRAGMA journal_size_limit = 4194304;"
                                   "PRAGMA max_page_count = " NUMBER_OF(PAGES_MAX) ";";
    if (sqlite3_exec(f->db, settings, NULL, NULL, NULL) != SQLITE_OK)
        return fail(error, len, path, why_not(f->db));
    if (number(f->db, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'") != 1)
        return fail(error, len, path, "this file system takes no write-ahead log");
    sqlite3_int64 id = number(f->db, "PRAGMA application_id");
    if (id == 0 && number(f->db, "SELECT count(*) FROM sqlite_schema") == 0) {
        if (!make_tables(f->db))
            return fail(error, len, path, why_not(f->db));
    } else if (id != APPLICATION_ID) {
        return fail(error, len, path, "not a state file of querygate");
    }
    if (number(f->db, "PRAGMA user_version") != FORMAT_VERSION)
        return fail(error, len, path, "written by another version of querygate");
    return make_accounts(f->db) || fail(error, len, path, why_not(f->db));
}

static bool read_head(struct state_file *f) {
    sqlite3_stmt *s = NULL;
    bool ok =
        sqlite3_prepare_v2(f->db, "SELECT hash_key, clean FROM file", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW && sqlite3_column_bytes(s, 0) == sizeof(f->hash_key);
    if (ok) {
        memcpy(&f->hash_key, sqlite3_column_blob(s, 0), sizeof(f->hash_key));
        f->was_clean = sqlite3_column_int(s, 1) == 1;
    }
    sqlite3_finalize(s);
    return ok;
}

static bool prepare(struct state_file *f) {
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(f->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &f->statements[i],
                               NULL) != SQLITE_OK)
            return false;
    return true;
}

struct state_file *state_file_open(const char *path, char *error, size_t len) {
    struct state_file *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        fail(error, len, path, "out of memory");
        return NULL;
    }
    if (!make_private(path, error, len))
        goto err;
    if (sqlite3_open_v2(path, &f->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK) {
        fail(error, len, path, f->db != NULL ? why_not(f->db) : "out of memory");
        goto err;
    }
    if (!open_tables(f, path, error, len))
        goto err;
    if (!prepare(f) || !read_head(f) || !mark(f, false)) {
        fail(error, len, path, why_not(f->db));
        goto err;
    }
    return f;
err:
    state_file_close(f);
    return NULL;
}

void state_file_close(struct state_file *f) {
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(f->statements[i]);
    sqlite3_close(f->db);
    free(f);
}

struct hash_key state_file_key(const struct state_file *f) {
    return f->hash_key;
}

bool state_file_was_clean(const struct state_file *f) {
    return f->was_clean;
}

bool state_file_load(struct state_file *f, uint64_t now_ns,
                     bool (*each)(void *cookie, const struct record *), void *cookie, char *error,
                     size_t len) {
    const char *path = sqlite3_db_filename(f->db, "main");
    struct record r = {.kind = 0};
    sqlite3_stmt *s = scan_after(f, &(struct record){.kind = 0}, -1);
    bool ok = true;
    int result;
    while (ok && (result = sqlite3_step(s)) == SQLITE_ROW) {
        if (!read_record(s, &r))
            ok = fail(error, len, path, "damaged: move it away to start with nothing owed");
        else if (r.due_ns >= now_ns && !each(cookie, &r))
            ok = fail(error, len, path, "out of memory, or more records than fit");
    }
    if (ok && result != SQLITE_DONE)
        ok = fail(error, len, path, why_not(f->db));
    sqlite3_reset(s);
    return ok;
}

bool state_file_load_accounts(struct state_file *f, uint64_t now_ns,
                              bool (*each)(void *cookie, const struct record *), void *cookie,
                              char *error, size_t len) {
    const char *path = sqlite3_db_filename(f->db, "main");
    sqlite3_stmt *s = f->statements[ACCOUNTS];
    int result = SQLITE_ERROR;
    sqlite3_bind_int64(f->statements[EXPIRE], 1, (sqlite3_int64)now_ns);
    bool ok = run(f, EXPIRE) || fail(error, len, path, why_not(f->db));
    while (ok && (result = sqlite3_step(s)) == SQLITE_ROW) {
        struct record r = {.kind = RECORD_ACCOUNT};
        const void *key = sqlite3_column_blob(s, 0);
        bool whole = key != NULL && sqlite3_column_bytes(s, 0) == sizeof(r.key);
        if (whole)
            memcpy(&r.key, key, sizeof(r.key));
        r.account = bytes_of(sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
        if (!whole || !each(cookie, &r))
            ok = fail(error, len, path, "damaged accounts, or more of them than fit");
    }
    if (ok && result != SQLITE_DONE)
        ok = fail(error, len, path, why_not(f->db));
    sqlite3_reset(s);
    return ok;
}
