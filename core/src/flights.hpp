// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/core/view.hpp>

#include <libcuckoo/cuckoohash_map.hh>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace tiercache::detail {

/// One fetch in progress for one key. The leader fills `result` once; who joined waits for it.
struct Flight {
  Flight(std::uint32_t generation_, bool loads_, SteadyTime began_) : generation(generation_), loads(loads_), began(began_) {}

  const std::uint32_t generation;  ///< the view's generation at the start
  const bool loads;                ///< the leader brings a loader
  const SteadyTime began;

  /// Blocks until the leader is done or the deadline passed; true: done.
  bool wait(Deadline deadline) {
    std::unique_lock lock(mutex);
    if (deadline.at() == SteadyTime::max()) return done_cv.wait(lock, [this] { return done; }), true;
    return done_cv.wait_until(lock, deadline.at(), [this] { return done; });
  }
  /// The result for one more holder: a pin of its own on the same entry, a copy where its thread has no pin left, or a share of
  /// the owned value. REQUIRES: done.
  ReadResult share(const ValueOps& ops) {
    std::lock_guard lock(mutex);
    ReadResult out;
    if (result.pin) {
      out.pin = result.pin.duplicate();
      if (!out.pin) out.owned = ops.copy(result.pin.value());
    } else {
      out.owned = result.owned;
    }
    out.error = result.error;
    out.version = result.version;
    out.source = result.source;
    return out;
  }
  void finish(ReadResult&& r) {
    {
      std::lock_guard lock(mutex);
      result = std::move(r);
      done = true;
    }
    done_cv.notify_all();
  }

 private:
  std::mutex mutex;
  std::condition_variable done_cv;
  ReadResult result;
  bool done = false;
};

/// The fetches in progress, by physical key: single flight inside the process. Thread-safe; a lock on a bucket is held for a map
/// operation, never while anything is fetched.
///
/// A joiner takes a value that was read before it asked. Three rules keep that inside the promise: an own write or an
/// invalidation detaches the flight (a writer reads its own writes), a flight of an older generation is not joined, and none that
/// began more than `join_age` ago (an invalidation may be on its way on a link that is dead). A caller that asks for more names a
/// younger age.
class Flights {
 public:
  /// The map grows by itself, and never has to hold more than the calls that run at once. (Its own default takes 13 MB.)
  explicit Flights(Duration join_age) : map_(flights_expected), join_age_(join_age) {}

  struct Seat {
    std::shared_ptr<Flight> flight;  ///< null: none for this caller, it goes alone
    bool leads = false;
  };

  Seat join(const std::string& key, std::uint32_t generation, bool loads, Duration age = Duration::max()) {
    const SteadyTime now = std::chrono::steady_clock::now();
    const auto fresh = std::make_shared<Flight>(generation, loads, now);
    Seat seat{fresh, true};
    map_.uprase_fn(
        key,
        [&](std::shared_ptr<Flight>& there) {
          const bool current = there->generation == generation && now - there->began <= join_age_;
          const bool young = now - there->began <= age;
          if (current && there->loads && (!loads || !young)) {
            seat = {};  // a reader without a loader waits for nobody's, and must not take the load's place;
                        // nor does one that the load is too old for: it would be the third's, too
          } else if (current && young && there->loads == loads) {
            seat = {there, false};
          } else {
            there = fresh;  // also a load in the place of a mere read: a caller with a loader does not wait for one without
          }
          return false;
        },
        fresh);
    return seat;
  }

  /// The key changed: later callers start anew. Waiters already aboard asked before the change was acknowledged and keep their
  /// seat.
  void detach(const std::string& key) {
    if (lab::ablated(lab::Remedy::flight_detach)) return;
    map_.erase(key);
  }

  /// Takes `flight` off the map if it still is the key's, hands `result` to who waits, and returns the leader's own share.
  ReadResult finish(const std::string& key, const std::shared_ptr<Flight>& flight, ReadResult&& result, const ValueOps& ops) {
    map_.erase_fn(key, [&](const std::shared_ptr<Flight>& there) { return there == flight; });
    if (flight.use_count() == 1) return std::move(result);  // nobody boarded, and nobody can any more
    flight->finish(std::move(result));
    return flight->share(ops);
  }

  [[nodiscard]] std::size_t size() const { return map_.size(); }

 private:
  static constexpr std::size_t flights_expected = 1024;
  libcuckoo::cuckoohash_map<std::string, std::shared_ptr<Flight>> map_;
  Duration join_age_;
};

}  // namespace tiercache::detail
