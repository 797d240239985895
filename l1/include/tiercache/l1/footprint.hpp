// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/table.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tiercache::l1 {

template <class V>
[[nodiscard]] std::uint64_t heap_footprint(const V& value) noexcept;

/// For a library that knows how to look into types of some kind: specialise with `static std::uint64_t bytes(const V&) noexcept`,
/// in a header that every user of such types includes. A type's own footprint() goes first.
template <class V>
struct MemberFootprint {};

namespace detail {

/// `footprint(const V&)` found by argument-dependent lookup: the bytes a value owns outside itself. The user's word counts.
template <class V>
concept HasFootprint = requires(const V& v) {
  { footprint(v) } -> std::convertible_to<std::uint64_t>;
};

/// What the allocator takes for a request of `bytes`. glibc: its own word besides, in steps of 16, 32 at the least; what it maps
/// for requests of 128 KiB and more (a limit that moves) may be up to a page more. Elsewhere an estimate.
[[nodiscard]] constexpr std::uint64_t chunk_bytes(std::uint64_t bytes) noexcept {
#ifdef __GLIBC__
  const std::uint64_t rounded = (bytes + 8 + 15) & ~std::uint64_t{15};
  return rounded < 32 ? 32 : rounded;
#else
  return bytes + 16;
#endif
}

template <class V>
concept StringLike = requires(const V& v) {
  typename V::value_type;
  typename V::traits_type;
  { v.capacity() } -> std::convertible_to<std::size_t>;
  { v.data() } -> std::convertible_to<const typename V::value_type*>;
};
template <class V>
concept VectorLike = !StringLike<V> && std::ranges::sized_range<const V> && requires(const V& v) {
  typename V::value_type;
  { v.capacity() } -> std::convertible_to<std::size_t>;
};
/// Maps, sets, lists, deques: a node an element. An array has no allocator and owns nothing outside itself.
template <class V>
concept NodeLike = !StringLike<V> && !VectorLike<V> && std::ranges::sized_range<const V> && requires {
  typename V::value_type;
  typename V::allocator_type;
};
template <class V>
concept TupleLike = requires {
  std::tuple_size<V>::value;
};

/// What the nodes of a container take, as libstdc++ lays them out.
template <class V>
[[nodiscard]] std::uint64_t nodes(const V& value) noexcept {
  constexpr std::uint64_t element = sizeof(typename V::value_type);
  if constexpr (requires { value.bucket_count(); }) {
    // A node has the next one's address and, for keys that are not numbers or the like, their hash. One bucket is in the object.
    constexpr std::uint64_t hash = std::is_scalar_v<typename V::key_type> ? 0 : sizeof(std::size_t);
    const std::uint64_t buckets = value.bucket_count();
    return value.size() * chunk_bytes(sizeof(void*) + element + hash) + (buckets > 1 ? chunk_bytes(buckets * sizeof(void*)) : 0);
  } else if constexpr (requires { typename V::key_compare; }) {
    return value.size() * chunk_bytes(4 * sizeof(void*) + element);
  } else if constexpr (std::ranges::random_access_range<const V>) {
    // A deque: blocks of 512 bytes, or of one element, and an array of their addresses. There is always one more to come.
    constexpr std::uint64_t block = element < 512 ? 512 / element * element : element;
    const std::uint64_t blocks = value.size() / (block / element) + 1;
    return blocks * chunk_bytes(block) + chunk_bytes(std::max<std::uint64_t>(blocks + 2, 8) * sizeof(void*));
  } else {
    return value.size() * chunk_bytes(2 * sizeof(void*) + element);
  }
}

template <class V>
[[nodiscard]] std::uint64_t elements(const V& range) noexcept {
  std::uint64_t sum = 0;
  if constexpr (!std::is_trivially_copyable_v<std::ranges::range_value_t<const V>>) {
    for (const auto& element : range) sum += heap_footprint(element);
  }
  return sum;
}

}  // namespace detail

/// Bytes a value owns outside itself: by its own footprint(), else a sensible sum for strings, vectors, maps, sets, lists, pairs,
/// tuples, arrays, optionals and unique_ptrs of such, else 0. With the allocator's rounding: on glibc what strings, vectors and
/// unique_ptrs own is exact below 128 KiB, and with libstdc++ sets, maps and lists are as well.
template <class V>
[[nodiscard]] std::uint64_t heap_footprint(const V& value) noexcept {
  if constexpr (detail::HasFootprint<V>) {
    return static_cast<std::uint64_t>(footprint(value));
  } else if constexpr (requires { MemberFootprint<V>::bytes(value); }) {
    return MemberFootprint<V>::bytes(value);
  } else if constexpr (detail::StringLike<V>) {
    const auto inside = reinterpret_cast<std::uintptr_t>(value.data()) - reinterpret_cast<std::uintptr_t>(&value);
    if (inside < sizeof(V)) return 0;  // a short string lives in the object
    return detail::chunk_bytes((value.capacity() + 1) * sizeof(typename V::value_type));
  } else if constexpr (detail::VectorLike<V>) {
    if (value.capacity() == 0) return 0;
    if constexpr (std::is_same_v<typename V::value_type, bool>) {
      return detail::chunk_bytes(value.capacity() / 8);
    } else {
      return detail::chunk_bytes(value.capacity() * sizeof(typename V::value_type)) + detail::elements(value);
    }
  } else if constexpr (detail::NodeLike<V>) {
    return detail::nodes(value) + detail::elements(value);
  } else if constexpr (requires(const V& v) {
                         v.has_value();
                         *v;
                       }) {
    return value.has_value() ? heap_footprint(*value) : 0;
  } else if constexpr (requires {
                         typename V::deleter_type;
                         typename V::element_type;
                       }) {
    if constexpr (!std::is_array_v<typename V::element_type> && !std::is_void_v<typename V::element_type>) {
      return value ? detail::chunk_bytes(sizeof(typename V::element_type)) + heap_footprint(*value) : 0;
    } else {
      return 0;
    }
  } else if constexpr (detail::TupleLike<V>) {
    if constexpr (std::ranges::range<const V>) {
      return detail::elements(value);
    } else {
      return std::apply([](const auto&... part) { return (std::uint64_t{0} + ... + heap_footprint(part)); }, value);
    }
  } else {
    return 0;
  }
}

/// The table's operations for V: one static object a type. V's move constructor and destructor must not throw: a throw ends the
/// process.
template <class V>
[[nodiscard]] const TypeOps* type_ops() noexcept {
  static_assert(std::is_object_v<V> && std::is_move_constructible_v<V> && alignof(V) <= 32768);
  static constexpr TypeOps ops{
      sizeof(V), alignof(V), [](void* to, void* from) noexcept { ::new (to) V(std::move(*static_cast<V*>(from))); },
      [](void* value) noexcept { static_cast<V*>(value)->~V(); },
      std::is_trivially_copyable_v<V> && !detail::HasFootprint<V> ? nullptr : +[](const void* value) noexcept -> std::uint64_t {
        return heap_footprint(*static_cast<const V*>(value));
      }};
  return &ops;
}

}  // namespace tiercache::l1
