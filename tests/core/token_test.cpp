// SPDX-License-Identifier: Apache-2.0
#include <tiercache/core/token.hpp>

#include <gtest/gtest.h>

#include <string>

namespace tiercache {
namespace {

TEST(WriteToken, TextIsTheSameTokenAgain) {
  WriteToken token(0, 0xfedcba9876543210, 1);
  EXPECT_EQ(token.to_string(), "1-0.fedcba9876543210.1");
  token.merge(WriteToken(16383, 1, UINT64_MAX));
  EXPECT_EQ(token.to_string(), "1-0.fedcba9876543210.1-3fff.1.ffffffffffffffff");
  for (const WriteToken& t : {WriteToken(), WriteToken(0, 7, 0), token}) {
    const auto parsed = WriteToken::parse(t.to_string());
    ASSERT_TRUE(parsed.ok()) << t.to_string();
    EXPECT_EQ(*parsed, t);
  }
}

TEST(WriteToken, WhatIsNoTokenIsRefused) {
  for (const char* text : {"1",
                           "1-",
                           "2-0.1.1",
                           "1-0.1",
                           "1-0.1.",
                           "1-0.0.1",
                           "1-0.1.1-",
                           "1-0.1.1-1",
                           "1--0.1.1",
                           "1-4000.1.1",
                           "1-0.1.10000000000000000",
                           "1-0.1.1 ",
                           " 1-0.1.1",
                           "1-0.1.g",
                           "1-0.1.-1",
                           "1-0.1.0x1",
                           "1-0.A.1",
                           "1-00.1.1",
                           "1-0.01.1",
                           "1-0.1.1.1",
                           "1-.1.1",
                           "1-0..1",
                           "1-+1.1.1",
                           "?"}) {
    const auto parsed = WriteToken::parse(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().code, Errc::invalid_argument);
    EXPECT_EQ(parsed.error().message.find(text), std::string::npos) << "foreign text is not repeated";
  }
  std::string many = "1";
  for (int i = 0; i < 20'000; ++i) many += "-0.1.1";
  EXPECT_FALSE(WriteToken::parse(many).ok());
}

TEST(WriteToken, OfASessionKeepsTheLastPlaceOfEachShard) {
  WriteToken session;
  session.merge(WriteToken(1, 5, 10));
  session.merge(WriteToken(1, 5, 7));
  session.merge(WriteToken(2, 5, 3));
  EXPECT_EQ(session.positions(), (std::vector<WriteToken::Position>{{1, 5, 10}, {2, 5, 3}}));
  session.merge(WriteToken(1, 6, 1));
  EXPECT_EQ(session.positions().front(), (WriteToken::Position{1, 6, 1})) << "the later stream";
  session.merge(WriteToken(1, 6, 0));
  session.merge(WriteToken(1, 6, 9));
  EXPECT_EQ(session.positions().front(), (WriteToken::Position{1, 6, 0})) << "not counted: no L1 can tell";
}

}  // namespace
}  // namespace tiercache
