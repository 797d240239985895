// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "record.hpp"
#include "row.hpp"
#include "shared.hpp"

#include <tiercache/tiercache.hpp>

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string_view>

namespace tiercache::demo {

/// Writes whose announcement did not go through. They are announced again until they do, and count as acknowledged only then.
/// Thread-safe.
class Unannounced {
 public:
  Unannounced(const SharedBlock& shared, InstanceBlock& block, Cache<Row> rows) noexcept
      : shared_(shared), block_(block), rows_(std::move(rows)) {}
  void add(std::uint32_t key, std::uint64_t version);
  /// Retries until finish() was called and nothing is left. One thread.
  void run();
  void finish();

 private:
  bool retry_some(std::unique_lock<std::mutex>& lock);

  const SharedBlock& shared_;
  InstanceBlock& block_;
  Cache<Row> rows_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint32_t, std::uint64_t> versions_;  ///< highest of each key
  bool finishing_ = false;
};

/// One thread's way to the rows: reads through the cache, writes through the record, judges every answer and counts.
class Client {
 public:
  Client(const SharedBlock& shared, Unannounced& unannounced, Cache<Row> rows, Record record, ThreadSlot& slot) noexcept
      : shared_(shared),
        unannounced_(unannounced),
        rows_(std::move(rows)),
        record_(std::move(record)),
        slot_(slot),
        acks_(shared.acks()) {}

  void read(std::uint32_t key);
  /// The row's version is raised in the record, then the key is erased from the cache.
  void write(std::uint32_t key);

 private:
  Row load(std::uint32_t key);
  void judge(std::uint32_t key, std::string_view text, std::int64_t began);
  void count_failure(const Error& error, bool fault_before);
  [[nodiscard]] bool fault_on() const noexcept { return shared_.header().fault_on.load(std::memory_order_relaxed); }

  const SharedBlock& shared_;
  Unannounced& unannounced_;
  Cache<Row> rows_;
  Record record_;
  ThreadSlot& slot_;
  AckLog acks_;
};

/// Says it on stderr and marks the run as failed.
void fail_run(const SharedBlock& shared, std::string_view why);

}  // namespace tiercache::demo
