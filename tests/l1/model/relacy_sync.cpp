// SPDX-License-Identifier: Apache-2.0
#include "relacy_sync.hpp"

#include <cstdlib>
#include <cstring>

namespace tiercache::l1::model {

namespace {
/// The compiler adds a template's arguments to the function's name; the place in the text is what counts.
[[nodiscard]] std::size_t length(const char* function) noexcept { return std::strcspn(function, "<"); }
[[nodiscard]] bool same_function(const char* a, const char* b) noexcept {
  return a == b || (length(a) == length(b) && std::strncmp(a, b, length(a)) == 0);
}
}  // namespace

void Pace::begin(unsigned threads, bool vary, Fences fences) {
  *this = Pace();
  threads_ = threads;
  vary_ = vary;
  fences_ = fences;
  if (!vary) return;
  fences_ = rl::rand(2) == 0 ? Fences::both : Fences::global;
  for (Thread& thread : of_) {
    if (rl::rand(2) == 0) continue;
    thread.stop_before = 1 + rl::rand(rl::rand(2) == 0 ? 16 : 48);
    thread.length = 4 + rl::rand(rl::rand(2) == 0 ? 32 : 128);
  }
}

void Pace::step() {
  if (!vary_) return;
  Thread& thread = of_[rl::thread_index()];
  ++total_;
  if (++thread.steps != thread.stop_before) return;
  const unsigned begin = total_;
  // Bounded also when all others are stopped or have ended.
  for (unsigned n = 0; n < 4 * thread.length && total_ - begin < thread.length && finished_ + 1 < threads_; ++n)
    rl::ctx().sched();
}

Site& Sites::at(const char* function, int line, Operation operation, Order order) noexcept {
  for (int i = 0; i < count_; ++i) {
    Site& site = sites_[i];
    if (site.line == line && site.operation == operation && site.order == order && same_function(site.function, function)) {
      site.scenarios |= std::uint64_t{1} << scenario;
      return site;
    }
  }
  if (count_ == room) std::abort();
  Site& site = sites_[count_++];
  site.function = function;
  site.line = line;
  site.operation = operation;
  site.order = order;
  site.scenarios = std::uint64_t{1} << scenario;
  return site;
}

std::string Sites::name(const Site& site) const {
  int rank = 1;
  for (int i = 0; i < count_; ++i) {
    const Site& other = sites_[i];
    if (other.operation == site.operation && same_function(other.function, site.function) && other.line < site.line) ++rank;
  }
  return std::string(site.function, length(site.function)) + '.' + to_string(site.operation) + '#' + std::to_string(rank);
}

const char* to_string(Operation operation) noexcept {
  constexpr const char* names[] = {"load", "store", "update", "cas", "fence"};
  return names[static_cast<int>(operation)];
}

const char* to_string(Order order) noexcept {
  constexpr const char* names[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};
  return names[static_cast<int>(order)];
}

}  // namespace tiercache::l1::model
