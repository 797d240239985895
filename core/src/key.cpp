// SPDX-License-Identifier: Apache-2.0
#include "key.hpp"

#include <tiercache/base/hash.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace tiercache::detail {

Result<void> check_name(std::string_view field, std::string_view name) {
  const auto fail = [&](std::string_view what) {
    return Error{Errc::invalid_argument, std::string(field) + ": " + std::string(what)};
  };
  if (name.empty() || name.size() > name_bytes_max)
    return fail("must have 1 .. 64 characters, has " + std::to_string(name.size()));
  for (const char c : name) {
    const bool good =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!good) return fail("may hold only A-Z a-z 0-9 . _ -");
  }
  return {};
}

Result<void> check_tags(std::span<const std::string> tags) {
  constexpr std::size_t tags_max = 16;
  if (tags.size() > tags_max) return Error{Errc::invalid_argument, "tags: at most 16, are " + std::to_string(tags.size())};
  for (const std::string& tag : tags)
    if (Result<void> r = check_name("tag", tag); !r) return r;
  return {};
}

const char* id_fault(std::string_view id) noexcept {
  if (id.empty()) return "key: is empty";
  if (id.size() > id_bytes_max) return "key: longer than 1024 bytes";
  for (const char c : id) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u == 0x7F || c == '{' || c == '}') return "key: holds a space, a control character or a brace";
  }
  return nullptr;
}

PhysicalKey KeySpace::physical(std::string_view type, std::string_view id) const {
  PhysicalKey key;
  key.text.reserve(prefix_.size() + type.size() + id.size() + 9);
  key.text.append(prefix_).append(type).append(":");
  if (shards_ == 0) {
    key.text.append(id);
    return key;
  }
  const std::size_t head = key.text.size();
  key.text.append(id);
  key.shard = static_cast<ShardId>(wire_hash(key.text).low % shards_);
  std::array<char, 8> hex{};
  const auto [end, error] = std::to_chars(hex.data(), hex.data() + hex.size(), static_cast<unsigned>(key.shard), 16);
  static_cast<void>(error);
  std::string tag = "{";
  if (end - hex.data() < 2) tag += '0';
  tag.append(hex.data(), end).append("}:");
  key.text.insert(head, tag);
  return key;
}

ShardId KeySpace::shard_of(std::string_view type, std::string_view id) const noexcept {
  std::array<char, 3 * (name_bytes_max + 1) + id_bytes_max> text;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
  const std::size_t size = prefix_.size() + type.size() + 1 + id.size();
  if (shards_ == 0 || size > text.size()) return 0;
  char* end = std::copy(prefix_.begin(), prefix_.end(), text.data());
  end = std::copy(type.begin(), type.end(), end);
  *end++ = ':';
  std::copy(id.begin(), id.end(), end);
  return static_cast<ShardId>(wire_hash({text.data(), size}).low % shards_);
}

std::optional<KeySpace::Parts> KeySpace::parse(std::string_view key) const noexcept {
  if (!key.starts_with(prefix_)) return std::nullopt;
  key.remove_prefix(prefix_.size());
  const std::size_t colon = key.find(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  Parts parts{key.substr(0, colon), key.substr(colon + 1)};
  if (shards_ != 0) {
    const std::size_t close = parts.id.find("}:");
    if (!parts.id.starts_with('{') || close == std::string_view::npos) return std::nullopt;
    parts.id.remove_prefix(close + 2);
  }
  if (parts.id.empty()) return std::nullopt;
  return parts;
}

}  // namespace tiercache::detail
