// SPDX-License-Identifier: Apache-2.0
#include <tiercache/base/bytes.hpp>
#include <tiercache/base/units.hpp>

#include <gtest/gtest.h>

#include <random>

namespace tiercache {
namespace {

TEST(Bytes, StandMostSignificantFirst) {
  std::string out;
  append_be<1>(out, 0x01);
  append_be<2>(out, 0x0203);
  append_be<6>(out, 0x040506070809);
  append_be<8>(out, 0x0a0b0c0d0e0f1011);
  EXPECT_EQ(out, std::string("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11", 17));
}

TEST(Bytes, HighBitsAreNoSigns) {
  const char bytes[] = "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8";
  EXPECT_EQ(load_be<1>(bytes), 0xffU);
  EXPECT_EQ(load_be<2>(bytes), 0xfffeU);
  EXPECT_EQ(load_be<8>(bytes), 0xfffefdfcfbfaf9f8U);
}

template <unsigned N>
void expect_round_trip(std::uint64_t v) {
  const std::uint64_t kept = N == 8 ? v : v & ((std::uint64_t{1} << (8 * N % 64)) - 1);
  char bytes[N + 1];
  bytes[N] = 'x';
  store_be<N>(bytes, v);
  EXPECT_EQ(load_be<N>(bytes), kept) << N << " bytes of " << v;
  EXPECT_EQ(bytes[N], 'x') << "wrote past " << N;
}

TEST(Bytes, EveryWidthRoundTripsAndKeepsToItsBytes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t v = i == 0 ? ~std::uint64_t{0} : random();
    expect_round_trip<1>(v);
    expect_round_trip<2>(v);
    expect_round_trip<3>(v);
    expect_round_trip<4>(v);
    expect_round_trip<5>(v);
    expect_round_trip<6>(v);
    expect_round_trip<7>(v);
    expect_round_trip<8>(v);
  }
}

TEST(Bytes, WorkAtCompileTime) {
  constexpr auto twice = [] {
    char bytes[4] = {};
    store_be<4>(bytes, 0x80000001);
    return load_be<4>(bytes);
  };
  static_assert(twice() == 0x80000001);
}

TEST(Units, ArePowersOfTwo) {
  EXPECT_EQ(7_B, 7U);
  EXPECT_EQ(3_KiB, 3072U);
  EXPECT_EQ(256_MiB, 268435456U);
  EXPECT_EQ(5_GiB, 5368709120U);
}

}  // namespace
}  // namespace tiercache
