// SPDX-License-Identifier: Apache-2.0
#include "record.hpp"

#include "clock.hpp"

#include <sqlite3.h>

#include <utility>

namespace tiercache::demo {
namespace {

Error failed(sqlite3* db, const std::string& what) {
  return {Errc::internal, "SQLite: " + what + ": " + (db != nullptr ? sqlite3_errmsg(db) : "out of memory")};
}

/// SQLite's own back-off sleeps up to 100 ms; a write takes 50 us.
int wait_for_writers(void*, int attempts) noexcept {
  constexpr int attempts_max = 50'000;  // of 0.2 ms: 10 s
  if (attempts >= attempts_max) return 0;
  sleep_ns(200'000);
  return 1;
}

}  // namespace

void Record::CloseDatabase::operator()(sqlite3* db) const noexcept { sqlite3_close(db); }
void Record::Finalize::operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
Record::Record(Database db) noexcept : db_(std::move(db)) {}

Result<Record::Database> Record::connect(const std::string& path, int flags) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  Database db(raw);
  if (code != SQLITE_OK) return failed(db.get(), "open " + path);
  sqlite3_busy_handler(db.get(), wait_for_writers, nullptr);
  if (auto set = execute(db.get(), "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA mmap_size=268435456;"); !set) {
    return set.error();
  }
  return db;
}

Result<void> Record::execute(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failed(db, sql);
  return {};
}

Result<Record::Statement> Record::prepare(sqlite3* db, const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) return failed(db, sql);
  return Statement(statement);
}

Result<void> Record::create(const std::string& path, std::uint32_t count,
                            const std::function<std::uint32_t(std::uint32_t)>& size_of) {
  Result<Database> db = connect(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  if (!db) return db.error();
  if (auto made = execute(db->get(),
                          "CREATE TABLE row(id INTEGER PRIMARY KEY, version INTEGER NOT NULL, size INTEGER NOT NULL); "
                          "BEGIN");
      !made) {
    return made;
  }
  Result<Statement> insert = prepare(db->get(), "INSERT INTO row VALUES(?1, 1, ?2)");
  if (!insert) return insert.error();
  for (std::uint32_t id = 0; id < count; ++id) {
    sqlite3_bind_int64(insert->get(), 1, id);
    sqlite3_bind_int64(insert->get(), 2, size_of(id));
    if (sqlite3_step(insert->get()) != SQLITE_DONE) return failed(db->get(), "insert");
    sqlite3_reset(insert->get());
  }
  insert->reset();
  return execute(db->get(), "COMMIT; PRAGMA wal_checkpoint(TRUNCATE);");
}

Result<Record> Record::open(const std::string& path) {
  Result<Database> db = connect(path, SQLITE_OPEN_READWRITE);
  if (!db) return db.error();
  Record record(std::move(*db));
  Result<Statement> find = prepare(record.db_.get(), "SELECT version, size FROM row WHERE id = ?1");
  if (!find) return find.error();
  Result<Statement> increment =
      prepare(record.db_.get(), "UPDATE row SET version = version + 1 WHERE id = ?1 RETURNING version, size");
  if (!increment) return increment.error();
  record.find_ = std::move(*find);
  record.increment_ = std::move(*increment);
  return record;
}

Result<Record::Fields> Record::run(sqlite3_stmt* statement, std::uint32_t id) {
  sqlite3_bind_int64(statement, 1, id);
  int code = sqlite3_step(statement);
  Fields fields;
  const bool found = code == SQLITE_ROW;
  if (found) {
    fields = {static_cast<std::uint64_t>(sqlite3_column_int64(statement, 0)),
              static_cast<std::uint32_t>(sqlite3_column_int64(statement, 1))};
    code = sqlite3_step(statement);  // to the end: only there does an UPDATE commit
  }
  Error error;
  if (code != SQLITE_DONE) error = failed(db_.get(), "row " + std::to_string(id));
  sqlite3_reset(statement);
  if (code != SQLITE_DONE) return error;
  if (!found) return Error{Errc::internal, "SQLite: no row " + std::to_string(id)};
  return fields;
}

Result<Record::Fields> Record::find(std::uint32_t id) { return run(find_.get(), id); }
Result<Record::Fields> Record::increment(std::uint32_t id) { return run(increment_.get(), id); }

}  // namespace tiercache::demo
