// SPDX-License-Identifier: Apache-2.0
//
// Counts everything again. Every test ends with it.
#include "core.hpp"

#include <string>

namespace tiercache::l1 {

namespace {

struct Sum {
  std::uint64_t bytes = 0;
  std::uint64_t granules = 0;
  std::uint64_t count = 0;
};

[[nodiscard]] Error differs(const std::string& what, std::uint64_t counted, std::uint64_t recorded) {
  return {Errc::internal, what + ": counted " + std::to_string(counted) + ", recorded " + std::to_string(recorded)};
}

[[nodiscard]] bool add(const Core& core, const Entry& entry, Sum& sum) {
  const unsigned granules = Access::granules(entry);
  sum.bytes += core.cost(entry);
  sum.granules += granules;
  ++sum.count;
  return granules == 0 || core.arena.marks(&entry, granules);
}

[[nodiscard]] Result<void> check_bucket(const Core& core, std::uint64_t index, Sum& live) {
  const Bucket& bucket = core.buckets[index];
  const std::string where = "bucket " + std::to_string(index) + ": ";
  if (control::op(bucket.control().load()) != 0) return Error{Errc::internal, where + "an install is left pending"};
  const Entry* entries[words_per_bucket] = {};
  for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)) {
    const std::uint64_t word = bucket.slot(i).load();
    if (!slot::taken(word)) continue;
    const Entry* entry = entries[i] = Access::at(slot::address(word));
    const std::uint64_t hash = core.hash_of(*entry);
    if (core.bucket_index(hash) != index) return Error{Errc::internal, where + "holds a key of another bucket"};
    if (slot::tag_of_hash(hash) != slot::tag(word)) return Error{Errc::internal, where + "wrong tag"};
    if (Access::retired(*entry)) return Error{Errc::internal, where + "holds a retired entry"};
    if (entry->view() >= core.view_count.load()) return Error{Errc::internal, where + "unknown view"};
    if (!add(core, *entry, live)) return Error{Errc::internal, where + "an entry's granules are marked free"};
    for (unsigned k = 0; k < i; ++k) {
      if (entries[k] != nullptr && Access::matches(*entries[k], entry->view(), entry->key())) {
        return Error{Errc::internal, where + "holds a key twice"};
      }
    }
  }
  return {};
}

}  // namespace

Result<void> Core::validate() const {
  Sum live;
  for (std::uint64_t b = 0; b < bucket_count; ++b) {
    if (auto ok = check_bucket(*this, b, live); !ok) return ok;
  }
  Sum gone;
  for (std::uint32_t i = 0; i < lanes.count(); ++i) {
    for (const auto* stack : parts[i].unlinked()) {
      for (std::uint64_t handle = stack->load(); handle != 0; handle = Access::link(handle).load()) {
        const Entry& entry = *Access::of_handle(handle);
        if (!Access::retired(entry)) return Error{Errc::internal, "retired list: an entry is not marked"};
        if (!add(*this, entry, gone)) return Error{Errc::internal, "retired list: granules are marked free"};
        if (gone.count > budget.retired_count()) break;
      }
    }
  }
  if (gone.count != budget.retired_count()) return differs("retired entries", gone.count, budget.retired_count());
  if (gone.bytes != budget.retired()) return differs("retired bytes", gone.bytes, budget.retired());
  if (live.count != budget.objects()) return differs("entries", live.count, budget.objects());
  if (live.granules + gone.granules != arena.granules_taken()) {
    return differs("granules", live.granules + gone.granules, arena.granules_taken());
  }
  const std::uint64_t used = budget.fixed() + live.bytes + gone.bytes;
  if (used != budget.used()) return differs("used bytes", used, budget.used());
  if (used > budget.capacity()) return differs("used bytes over the capacity", used, budget.capacity());
  if (!detail::operation_hazards_clear()) return Error{Errc::internal, "an operation left a hazard published"};
  return {};
}

}  // namespace tiercache::l1
