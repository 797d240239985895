// SPDX-License-Identifier: Apache-2.0
#include <tiercache/core/codec.hpp>

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace tiercache {
namespace {

struct Address {
  std::string street;
  int number = 0;
  MSGPACK_DEFINE(street, number)
};
struct User {
  std::string name;
  std::vector<Address> addresses;
  std::map<std::string, std::string> notes;
  std::uint64_t id = 0;
  MSGPACK_DEFINE(name, addresses, notes, id)
};

template <class C, class V>
std::optional<V> round_trip(const V& value) {
  std::string bytes;
  C::encode(value, bytes);
  return C::decode(bytes);
}

template <class V>
bool decodes(std::string_view bytes) {
  try {
    return Msgpack<V>::decode(bytes).has_value();
  } catch (const std::exception&) {
    return false;
  }
}

TEST(Codec, MsgpackRoundTripsNestedTypes) {
  const User user{"ada", {{"main street", 7}, {"side street", 8}}, {{"a", "b"}}, 42};
  const auto back = round_trip<Msgpack<User>>(user);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->name, "ada");
  ASSERT_EQ(back->addresses.size(), 2U);
  EXPECT_EQ(back->addresses[1].street, "side street");
  EXPECT_EQ(back->notes.at("a"), "b");
  EXPECT_EQ(back->id, 42U);
}

TEST(Codec, RawBytesAreTheBytesThemselves) {
  std::string out;
  RawBytes<std::string>::encode(std::string("a\0b", 3), out);
  EXPECT_EQ(out, std::string("a\0b", 3));
  EXPECT_EQ(RawBytes<std::string>::decode(out), std::string("a\0b", 3));
  EXPECT_EQ(RawBytes<std::string>::decode({}), std::string());
  const std::vector<unsigned char> bytes{1, 2, 255};
  EXPECT_EQ((round_trip<RawBytes<std::vector<unsigned char>>>(bytes)), bytes);
}

TEST(Codec, FiveBytesCannotAskForGigabytes) {
  EXPECT_FALSE(decodes<std::vector<int>>(std::string("\xdd\xff\xff\xff\xff", 5)));      // array32 of 2^32-1
  EXPECT_FALSE((decodes<std::map<int, int>>(std::string("\xdf\xff\xff\xff\xff", 5))));  // map32
  EXPECT_FALSE(decodes<std::string>(std::string("\xdb\xff\xff\xff\xff", 5)));           // str32
  EXPECT_FALSE(decodes<std::vector<char>>(std::string("\xc6\xff\xff\xff\xff", 5)));     // bin32
}

TEST(Codec, DepthIsBounded) {
  std::string deep(40, '\x91');  // [[[[...
  deep += '\x01';
  EXPECT_FALSE(decodes<msgpack::type::variant>(deep));
}

TEST(Codec, TrailingBytesDoNotDecode) {
  std::string bytes;
  Msgpack<int>::encode(5, bytes);
  EXPECT_TRUE(decodes<int>(bytes));
  bytes += '\x05';
  EXPECT_FALSE(decodes<int>(bytes));
}

TEST(Codec, RandomBytesNeverCrash) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  std::string good;
  Msgpack<User>::encode(User{"ada", {{"main street", 7}}, {{"a", "b"}}, 42}, good);
  for (int i = 0; i < 100'000; ++i) {
    std::string bytes = good;
    for (unsigned n = 1 + rng() % 4; n > 0; --n) bytes[rng() % bytes.size()] = static_cast<char>(rng());
    if (rng() % 3 == 0) bytes.resize(rng() % bytes.size());
    static_cast<void>(decodes<User>(bytes));
  }
}

TEST(Footprint, SumsTheMembersThatMsgpackDefineNames) {
  User user;
  EXPECT_EQ(l1::heap_footprint(user), 0U);
  user.name = std::string(1000, 'x');
  EXPECT_GE(l1::heap_footprint(user), 1000U);
  EXPECT_LT(l1::heap_footprint(user), 1100U);
  user.addresses.resize(10);
  const std::uint64_t before = l1::heap_footprint(user);
  EXPECT_GE(before, 1000U + 10 * sizeof(Address));
  user.addresses[3].street = std::string(500, 'y');
  EXPECT_GE(l1::heap_footprint(user), before + 500);
}

struct Sized {
  std::string hidden;
  friend std::uint64_t footprint(const Sized& s) noexcept { return s.hidden.size() + 7; }
  MSGPACK_DEFINE(hidden)
};

TEST(Footprint, OfTheUserWins) { EXPECT_EQ(l1::heap_footprint(Sized{"abc"}), 10U); }

}  // namespace
}  // namespace tiercache
