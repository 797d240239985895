// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "shadow_reads.hpp"
#include "store_core.hpp"

namespace tiercache::detail {

/// What is written down of a hit. `shadow_mask`: a hit whose number in its thread and view has none of these bits is sampled.
[[gnu::always_inline]] inline void count_hit(StoreCore& core, ViewState& view, std::uint64_t shadow_mask, std::string_view id,
                                             std::uint64_t hash, const l1::Entry& entry) noexcept {
  const std::uint64_t number = view.l1_hits.add();
  core.table->count_hit(view.l1_id, id, hash, entry);
  if ((number & shadow_mask) == 0) [[unlikely]]
    core.shadow->note(view, id);
}

}  // namespace tiercache::detail
