// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <msgpack.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tiercache::demo {

/// What is cached: a row of the system of record. Its text names key and version, so that every answer can be judged.
struct Row {
  std::string text;
  MSGPACK_DEFINE(text)
};

struct RowName {
  std::uint32_t key = 0;
  std::uint64_t version = 0;
};

inline constexpr std::size_t row_bytes_min = 40;  ///< "4294967295 18446744073709551615 " and some padding

/// "<key> <version> pppp...": `size` bytes, the padding letter depends on key and version.
[[nodiscard]] inline std::string make_text(RowName name, std::size_t size) {
  std::string text;
  text.reserve(std::max(size, row_bytes_min));
  text += std::to_string(name.key);
  text += ' ';
  text += std::to_string(name.version);
  text += ' ';
  text.resize(std::max(size, row_bytes_min), static_cast<char>('a' + (name.key + name.version) % 26));
  return text;
}

/// The name in a text, if the text has the size and the padding (its last byte) that the name asks for.
[[nodiscard]] inline std::optional<RowName> parse_text(std::string_view text, std::size_t size) noexcept {
  RowName name;
  if (text.size() != std::max(size, row_bytes_min)) return std::nullopt;
  const char* const end = text.data() + text.size();
  const auto key = std::from_chars(text.data(), end, name.key);
  if (key.ec != std::errc() || key.ptr == end || *key.ptr != ' ') return std::nullopt;
  const auto version = std::from_chars(key.ptr + 1, end, name.version);
  if (version.ec != std::errc() || version.ptr == end || *version.ptr != ' ') return std::nullopt;
  if (end[-1] != static_cast<char>('a' + (name.key + name.version) % 26)) return std::nullopt;
  return name;
}

/// The cache key of a row, without allocation: "123", or "p7" for the 7th probe. Probes stand behind the workload's keys.
class KeyText {
 public:
  KeyText(std::uint32_t key, std::uint64_t workload_keys) noexcept {
    char* at = text_;
    if (key >= workload_keys) {
      *at++ = 'p';
      key -= static_cast<std::uint32_t>(workload_keys);
    }
    size_ = static_cast<std::size_t>(std::to_chars(at, text_ + sizeof text_, key).ptr - text_);
  }
  [[nodiscard]] std::string_view view() const noexcept { return {text_, size_}; }

 private:
  char text_[16];
  std::size_t size_ = 0;
};

/// True for the physical key ("env:resource:type:id") of a probe.
[[nodiscard]] inline bool is_probe(std::string_view physical_key) noexcept {
  const std::size_t colon = physical_key.rfind(':');
  return colon != std::string_view::npos && colon + 1 < physical_key.size() && physical_key[colon + 1] == 'p';
}

}  // namespace tiercache::demo
