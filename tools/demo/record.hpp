// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

struct sqlite3;
struct sqlite3_stmt;

namespace tiercache::demo {

/// A connection to the system of record: a SQLite file with one table, row(id, version, size). The text of a row is a function of
/// the three (row.hpp), so a record of gigabytes needs no gigabytes. WAL: readers never wait; writers wait for each other, which
/// puts the versions of a key in a line. One thread a connection; any number of connections and processes a file.
class Record {
 public:
  struct Fields {
    std::uint64_t version = 0;
    std::uint32_t size = 0;
  };

  /// Makes the file with `count` rows of version 1. `size_of(id)` is called once for each.
  [[nodiscard]] static Result<void> create(const std::string& path, std::uint32_t count,
                                           const std::function<std::uint32_t(std::uint32_t)>& size_of);
  [[nodiscard]] static Result<Record> open(const std::string& path);

  [[nodiscard]] Result<Fields> find(std::uint32_t id);
  /// One transaction: raises the row's version by one -> the new fields. Waits up to 10 s for other writers.
  [[nodiscard]] Result<Fields> increment(std::uint32_t id);

 private:
  struct CloseDatabase {
    void operator()(sqlite3* db) const noexcept;
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const noexcept;
  };
  using Database = std::unique_ptr<sqlite3, CloseDatabase>;
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  explicit Record(Database db) noexcept;
  static Result<Database> connect(const std::string& path, int flags);
  static Result<Statement> prepare(sqlite3* db, const char* sql);
  static Result<void> execute(sqlite3* db, const char* sql);
  Result<Fields> run(sqlite3_stmt* statement, std::uint32_t id);

  Database db_;  // declared first: statements are finalised before it closes
  Statement find_;
  Statement increment_;
};

}  // namespace tiercache::demo
