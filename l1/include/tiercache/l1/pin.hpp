// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/hazard.hpp>

#include <string_view>
#include <utility>

namespace tiercache::l1 {

/// A pin as two words: as a result it comes in registers, where a pin comes in memory. Stands for a pin and does not give it back
/// by itself: exactly one Pin is to be made of it.
struct [[nodiscard]] Held {
  const Entry* entry = nullptr;
  detail::HazardSlot* slot = nullptr;
};

/// A pinned entry: the value stays readable and unchanged until the pin goes, also after eviction, erase or the table's end.
/// Move-only; may move to, be read on and be destroyed on another thread, also after the thread that made it ended. Empty when
/// default-constructed or moved from. A pin takes one of its maker's pins_per_thread() until it is destroyed. The bytes of a
/// pinned entry stay in the budget. Every member is wait-free; one pin is not for two threads at once.
class Pin {
 public:
  Pin() noexcept = default;
  /// Takes over what release() gave.
  explicit Pin(Held held) noexcept : entry_(held.entry), slot_(held.slot) {}
  Pin(Pin&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)), slot_(std::exchange(other.slot_, nullptr)) {}
  Pin& operator=(Pin&& other) noexcept {
    if (this != &other) {
      reset();
      entry_ = std::exchange(other.entry_, nullptr);
      slot_ = std::exchange(other.slot_, nullptr);
    }
    return *this;
  }
  ~Pin() { reset(); }

  explicit operator bool() const noexcept { return entry_ != nullptr; }

  /// REQUIRES for both: not empty. Valid while the pin lives.
  [[nodiscard]] const void* value() const noexcept { return entry_->value(); }
  [[nodiscard]] const Entry* entry() const noexcept { return entry_; }
  /// value() for those who know the type: cheaper. REQUIRES besides: V is the type of the entry's view.
  template <class V>
  [[nodiscard]] const V& value_as() const noexcept {
    return entry_->value_as<V>();
  }
  /// And for those who know the key as well, which must be the entry's: nothing of the entry is read to find the value, so the
  /// value's lines are under way together with the entry's first.
  template <class V>
  [[nodiscard]] const V& value_as(std::string_view key) const noexcept {
    return entry_->value_as<V>(key.size());
  }

  /// A second pin on the same entry, out of the calling thread's pins; empty when they are used up, or when this is empty.
  [[nodiscard]] Pin duplicate() const noexcept {
    detail::Record* record = entry_ != nullptr ? detail::this_record() : nullptr;
    if (record == nullptr || !detail::has_free_pin(*record)) return {};
    detail::HazardSlot& slot = detail::free_pin(*record);
    detail::take_pin(*record, slot);
    detail::Hazards::copy(slot, entry_, detail::EntryAccess::flags(*entry_), detail::EntryAccess::flag_retired,
                          detail::retired_copies);
    return {entry_, &slot};
  }

  /// What was pinned stays so until a pin that is made of the result goes; this one is empty.
  [[nodiscard]] Held release() noexcept { return {std::exchange(entry_, nullptr), std::exchange(slot_, nullptr)}; }
  void reset() noexcept {
    if (slot_ != nullptr) {
      detail::release_pin(slot_);
      slot_ = nullptr;
      entry_ = nullptr;
    }
  }

 private:
  friend class Table;
  friend struct Core;
  Pin(const Entry* entry, detail::HazardSlot* slot) noexcept : entry_(entry), slot_(slot) {}

  const Entry* entry_ = nullptr;
  detail::HazardSlot* slot_ = nullptr;
};
static_assert(sizeof(Pin) <= 16);

}  // namespace tiercache::l1
