// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/footprint.hpp>

#include <msgpack.hpp>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache {

/// How values of type V become bytes in Redis. Stateless; all members static and thread-safe.
///   id      stands in the envelope; 1 and 2 are taken, yours are 128 .. 255. Another id in Redis is a miss, left alone.
///   encode  appends to `out`; may throw: the put fails with bad_data and nothing is sent.
///   decode  nullopt or a throw: the bytes do not decode, the read is a miss. Must bound what it allocates by what it is given.
template <class C, class V>
concept Codec = requires(const V& value, std::string& out, std::string_view bytes) {
  { C::id } -> std::convertible_to<std::uint8_t>;
  {C::encode(value, out)};
  { C::decode(bytes) } -> std::same_as<std::optional<V>>;
};

/// msgpack, for types with MSGPACK_DEFINE and all that msgpack-c knows. Unpacking is bounded: depth 32, and no container or
/// string may claim more elements than bytes remain (each element takes at least one), so five bytes cannot ask for gigabytes.
template <class V>
struct Msgpack {
  static constexpr std::uint8_t id = 1;

  static void encode(const V& value, std::string& out) {
    struct Sink {
      std::string& out;
      void write(const char* data, std::size_t n) { out.append(data, n); }
    } sink{out};
    msgpack::pack(sink, value);
  }

  static std::optional<V> decode(std::string_view bytes) {
    const std::size_t n = bytes.size();
    std::size_t offset = 0;
    const msgpack::object_handle object =
        msgpack::unpack(bytes.data(), n, offset, nullptr, nullptr, msgpack::unpack_limit(n, n, n, n, n, 32));
    if (offset != n) return std::nullopt;
    return object.get().as<V>();
  }
};

/// The bytes themselves, for std::string and the like: no msgpack frame, nothing copied twice.
template <class V = std::string>
struct RawBytes {
  static constexpr std::uint8_t id = 2;
  static void encode(const V& value, std::string& out) { out.append(reinterpret_cast<const char*>(value.data()), value.size()); }
  static std::optional<V> decode(std::string_view bytes) {
    using T = typename V::value_type;
    static_assert(sizeof(T) == 1);
    const auto* first = reinterpret_cast<const T*>(bytes.data());
    return V(first, first + bytes.size());
  }
};

namespace detail {

/// Sums the heap behind the members that MSGPACK_DEFINE names: poses as a packer and looks instead of writing.
class FootprintPacker {
 public:
  FootprintPacker& pack_array(std::uint32_t) { return *this; }
  FootprintPacker& pack_map(std::uint32_t) { return *this; }
  template <class T>
  FootprintPacker& pack(const T& member);
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  std::uint64_t bytes_ = 0;
};

template <class V>
concept MsgpackDefined = requires(const V& v, FootprintPacker& p) {
  v.msgpack_pack(p);
};

}  // namespace detail

template <class T>
detail::FootprintPacker& detail::FootprintPacker::pack(const T& member) {
  bytes_ += l1::heap_footprint(member);
  return *this;
}

/// The heap behind a type with MSGPACK_DEFINE is what its members own, unless it has a footprint() of its own.
template <detail::MsgpackDefined V>
struct l1::MemberFootprint<V> {
  static std::uint64_t bytes(const V& value) noexcept {
    tiercache::detail::FootprintPacker packer;
    value.msgpack_pack(packer);
    return packer.bytes();
  }
};

}  // namespace tiercache
