// SPDX-License-Identifier: Apache-2.0
//
// The kernels' policy over relacy's atomics. Each place in the sources that names an order, or a fence, is a site: told by
// function, line, operation and order, which the compiler passes along. So the kernels need no marks, and a new operation in them
// is a new site by itself.
#pragma once

#include <tiercache/l1/words.hpp>

// How many older values of a variable a load may still answer. The library's 3 would hide a helper that is several installs late.
#include <relacy/base.hpp>
#define atomic_history_size 8
#include <relacy/relacy.hpp>
#undef atomic_history_size

#include <cstdint>
#include <string>
#include <type_traits>

// What it defines to catch a program's own calls.
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#undef VAR
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst

namespace tiercache::l1::model {

enum class Order : std::uint8_t { relaxed, acquire, release, acq_rel, seq_cst };
enum class Operation : std::uint8_t { load, store, update, exchange_if, fence };

/// What is done to a site. The last three are not orders but steps of the protocol left out.
enum class Change : std::uint8_t {
  none,
  order,         ///< another order; of a fence: `relaxed` drops it
  stale,         ///< a load answers what this thread saw or wrote there last: the step that looks again is gone
  unconditional  ///< a compare-exchange writes whatever it finds: the compare is gone
};

struct Site {
  const char* function = nullptr;
  int line = 0;
  Operation operation{};
  Order order{};
  std::uint64_t scenarios = 0;  ///< a bit for each scenario that came by
  Change change = Change::none;
  Order changed{};
};

/// All sites that were met; filled by the first run, which changes none. A fixed array: while relacy runs, allocations are its
/// own.
class Sites {
 public:
  static constexpr int room = 256;
  [[nodiscard]] Site& at(const char* function, int line, Operation operation, Order order) noexcept;
  [[nodiscard]] Site* begin() noexcept { return sites_; }
  [[nodiscard]] Site* end() noexcept { return sites_ + count_; }
  /// function.operation#n: the n-th of its kind in the function's text.
  [[nodiscard]] std::string name(const Site& site) const;

  unsigned scenario = 0;  ///< the one that runs now

 private:
  Site sites_[room];
  int count_ = 0;
};
inline Sites sites;

[[nodiscard]] const char* to_string(Operation operation) noexcept;
[[nodiscard]] const char* to_string(Order order) noexcept;

[[nodiscard]] inline rl::memory_order relacy(Order order) noexcept {
  constexpr rl::memory_order orders[] = {rl::mo_relaxed, rl::mo_acquire, rl::mo_release, rl::mo_acq_rel, rl::mo_seq_cst};
  return orders[static_cast<int>(order)];
}

/// Where a call stands, from default arguments.
struct Place {
  const char* function;
  const char* file;
  int line;
  [[nodiscard]] rl::debug_info info() const { return {function, file, static_cast<unsigned>(line)}; }
};

/// How membarrier's asymmetric fence is modelled; each run takes one of them.
enum class Fences : std::uint8_t {
  both,   ///< a full fence on both sides: what runs where the system has no membarrier
  global  ///< nothing on the light side; the heavy one makes every thread run a full fence, wherever it is: membarrier
};

/// Who may run, beyond the checker's choice at each operation: left to that alone, a thread would hardly ever be held between two
/// steps while others go through whole operations. Half of the threads are stopped once, before some step, for a while.
class Pace {
 public:
  static constexpr unsigned threads_max = 3;
  void begin(unsigned threads, bool vary, Fences fences = Fences::both);
  void step();
  void finished() noexcept { ++finished_; }
  [[nodiscard]] Fences fences() const noexcept { return fences_; }

 private:
  struct Thread {
    unsigned steps = 0;
    unsigned stop_before = 0;
    unsigned length = 0;
  };
  Thread of_[threads_max];
  unsigned threads_ = 0;
  unsigned finished_ = 0;
  unsigned total_ = 0;
  bool vary_ = false;
  Fences fences_ = Fences::both;
};
inline Pace pace;

/// The order with which this site's operation is to run.
inline Order order_at(const Place& place, Operation operation, Order order, Change* change = nullptr) {
  pace.step();
  const Site& site = sites.at(place.function, place.line, operation, order);
  if (site.change == Change::none) [[likely]]
    return order;
  if (site.change == Change::order) return site.changed;
  if (change != nullptr) *change = site.change;
  return order;
}

/// A plain variable of the program: relacy reports each access that races with another.
template <class T>
class Plain {
 public:
  Plain() = default;
  void set(T value, const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
           int line = __builtin_LINE()) {
    var_(Place{function, file, line}.info()).store(value);
  }
  [[nodiscard]] T get(const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
                      int line = __builtin_LINE()) const {
    return var_(Place{function, file, line}.info()).load();
  }
  operator T() const { return get(); }  // NOLINT(google-explicit-constructor): the kernels write plain expressions
  Plain& operator=(T value) { return set(value), *this; }
  Plain& operator|=(T value) { return set(get() | value), *this; }
  Plain& operator&=(T value) { return set(get() & value), *this; }

 private:
  rl::var<T> var_;
};

/// The checker does not know pointers to constants.
template <class T>
using Stored = std::conditional_t<std::is_pointer_v<T>, std::remove_const_t<std::remove_pointer_t<T>>*, T>;
template <class T>
[[nodiscard]] Stored<T> stored(T value) noexcept {
  if constexpr (std::is_pointer_v<T>) return const_cast<Stored<T>>(value);
  else return value;
}

template <class T>
class Atomic {
 public:
  Atomic() = default;                       // relacy reports a load of one that was never written
  Atomic(T value) noexcept { set(value); }  // NOLINT(google-explicit-constructor): as std::atomic
  /// Before the threads start, or where no order matters: no site.
  void set(T value) { store_at(Place{"set", "", 0}, value, Order::relaxed); }
  [[nodiscard]] T peek() const { return atomic_.load(rl::mo_relaxed, Place{"peek", "", 0}.info()); }

  [[nodiscard]] T load(Order order, const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
                       int line = __builtin_LINE()) const {
    const Place place{function, file, line};
    Change change = Change::none;
    const Order now = order_at(place, Operation::load, order, &change);
    if (change == Change::stale) return last_[rl::thread_index()];
    return last_[rl::thread_index()] = atomic_.load(relacy(now), place.info());
  }
  void store(T value, Order order, const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
             int line = __builtin_LINE()) {
    const Place place{function, file, line};
    store_at(place, value, order_at(place, Operation::store, order));
  }
  T exchange(T value, Order order, const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
             int line = __builtin_LINE()) {
    const Place place{function, file, line};
    last_[rl::thread_index()] = value;
    return atomic_.exchange(stored(value), relacy(order_at(place, Operation::update, order)), place.info());
  }
  T fetch_or(T bits, Order order, const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
             int line = __builtin_LINE()) {
    const Place place{function, file, line};
    return atomic_.fetch_or(bits, relacy(order_at(place, Operation::update, order)), place.info());
  }
  T fetch_and(T bits, Order order, const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
              int line = __builtin_LINE()) {
    const Place place{function, file, line};
    return atomic_.fetch_and(bits, relacy(order_at(place, Operation::update, order)), place.info());
  }
  T fetch_add(T n, Order order, const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
              int line = __builtin_LINE()) {
    const Place place{function, file, line};
    return atomic_.fetch_add(n, relacy(order_at(place, Operation::update, order)), place.info());
  }
  bool compare_exchange_strong(T& expected, T value, Order order, Order failure, const char* function = __builtin_FUNCTION(),
                               const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    const Place place{function, file, line};
    return exchange_if<false>(place, expected, value, order, failure);
  }
  bool compare_exchange_weak(T& expected, T value, Order order, Order failure, const char* function = __builtin_FUNCTION(),
                             const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    const Place place{function, file, line};
    return exchange_if<true>(place, expected, value, order, failure);
  }

 private:
  void store_at(const Place& place, T value, Order order) {
    last_[rl::thread_index()] = value;
    atomic_.store(stored(value), relacy(order), place.info());
  }
  template <bool weak>
  bool exchange_if(const Place& place, T& expected, T value, Order order, Order failure) {
    Change change = Change::none;
    const Order now = order_at(place, Operation::exchange_if, order, &change);
    Stored<T> found = stored(expected);
    bool done = atomic_.compare_exchange(rl::bool_t<weak>(), found, stored(value), relacy(now), relacy(failure), place.info());
    while (!done && change == Change::unconditional) {
      done = atomic_.compare_exchange(rl::bool_t<weak>(), found, stored(value), relacy(now), relacy(failure), place.info());
    }
    expected = found;
    last_[rl::thread_index()] = done ? value : expected;
    return done;
  }

  rl::atomic<Stored<T>> atomic_;
  mutable T last_[Pace::threads_max]{};  // threads are fibers of one thread
};

struct RelacySync {
  template <class T>
  using atomic = Atomic<T>;

  static constexpr Order relaxed = Order::relaxed;
  static constexpr Order acquire = Order::acquire;
  static constexpr Order release = Order::release;
  static constexpr Order acq_rel = Order::acq_rel;
  static constexpr Order hazard_store = Order::release;
  static constexpr Order hazard_check = Order::acquire;

  static void light_barrier(const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
                            int line = __builtin_LINE()) {
    const Order order = order_at(Place{function, file, line}, Operation::fence, Order::seq_cst);
    if (order == Order::relaxed || pace.fences() == Fences::global) return;
    rl::atomic_thread_fence(relacy(order), Place{function, file, line}.info());
  }
  static bool heavy_barrier(const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
                            int line = __builtin_LINE()) {
    const Place place{function, file, line};
    const Order order = order_at(place, Operation::fence, Order::seq_cst);
    if (order == Order::relaxed) return true;
    rl::ctx().sched();  // as any operation
    if (pace.fences() == Fences::global) rl::systemwide_fence(place.info());
    else rl::atomic_thread_fence(relacy(order), place.info());
    return true;
  }

  static void full_fence(const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(),
                         int line = __builtin_LINE()) {
    const Place place{function, file, line};
    const Order order = order_at(place, Operation::fence, Order::seq_cst);
    if (order != Order::relaxed) rl::atomic_thread_fence(relacy(order), place.info());
  }

  /// quick_barrier() orders for the compiler alone, which the checker is not: nothing to model, and nothing to drop.
  static void quick_barrier() noexcept {}
  [[nodiscard]] static bool quick() noexcept { return pace.fences() == Fences::global; }

  static constexpr unsigned tag_bits = 1;
  /// A hint, as in production. A line has one slot here, or none: then it is null.
  [[nodiscard]] static unsigned match_tags(const Atomic<std::uint64_t>* line, std::uint16_t tag) {
    return line != nullptr && slot::tag(line->load(relaxed)) == tag ? 1U : 0U;
  }
};

}  // namespace tiercache::l1::model
