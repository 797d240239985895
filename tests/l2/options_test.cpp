// SPDX-License-Identifier: Apache-2.0
#include "sha1.hpp"

#include <tiercache/l2/options.hpp>

#include <gtest/gtest.h>

#include <string>

namespace tiercache::l2 {
namespace {

struct UrlCase {
  const char* url;
  const char* host;
  std::uint16_t port;
  const char* username;
  const char* password;
  std::uint32_t db;
};

TEST(Url, EachPartIsFoundAndDecoded) {
  const UrlCase cases[] = {
      {"redis://127.0.0.1", "127.0.0.1", 6379, "", "", 0},
      {"redis://localhost:6380", "localhost", 6380, "", "", 0},
      {"redis://localhost/", "localhost", 6379, "", "", 0},
      {"redis://localhost:1/15", "localhost", 1, "", "", 15},
      {"redis://:secret@h", "h", 6379, "", "secret", 0},
      {"redis://user:secret@h:65535/2", "h", 65535, "user", "secret", 2},
      {"redis://u%40x:p%3a%2F%25@h", "h", 6379, "u@x", "p:/%", 0},
      {"redis://u:a:b@h", "h", 6379, "u", "a:b", 0},
      {"redis://u:p@ss@h", "h", 6379, "u", "p@ss", 0},
      {"redis://[::1]", "::1", 6379, "", "", 0},
      {"redis://:p@[fe80::1%25eth0]:7000/3", "fe80::1%eth0", 7000, "", "p", 3},
  };
  for (const UrlCase& c : cases) {
    SCOPED_TRACE(c.url);
    Options o;
    o.url = c.url;
    EXPECT_TRUE(o.validate().ok());
    const auto e = parse_endpoint(o);
    ASSERT_TRUE(e.ok());
    EXPECT_EQ(e->host, c.host);
    EXPECT_EQ(e->port, c.port);
    EXPECT_EQ(e->username, c.username);
    EXPECT_EQ(e->password, c.password);
    EXPECT_EQ(e->db, c.db);
  }
}

TEST(Url, WhatIsNotAUrlOfOursIsRefusedWithoutQuotingIt) {
  const char* const urls[] = {"",
                              "127.0.0.1:6379",
                              "http://h",
                              "rediss://:hunter2@h",
                              "redis://",
                              "redis://:hunter2@",
                              "redis://:hunter2@:6379",
                              "redis://:hunter2@h:0",
                              "redis://:hunter2@h:65536",
                              "redis://:hunter2@h:12x",
                              "redis://:hunter2@h:",
                              "redis://:hunter2@h:-1",
                              "redis://:hunter2@h/x",
                              "redis://:hunter2@h/1/2",
                              "redis://:hunter2@h/99999999999",
                              "redis://:hunter2%4@h",
                              "redis://:hunter2%zz@h",
                              "redis://:hunter2%+1@h",
                              "redis://:hunter2@h?db=1",
                              "redis://:hunter2@h#1",
                              "redis://:hunter2@[::1",
                              "redis://:hunter2@[::1]x",
                              "redis://:hunter2@::1",
                              "redis://:hunter2@a b",
                              "redis://:hunter2@a%00b",
                              "redis://hunter2@h"};
  for (const char* const url : urls) {
    SCOPED_TRACE(url);
    Options o;
    o.url = url;
    const auto e = parse_endpoint(o);
    ASSERT_FALSE(e.ok());
    EXPECT_EQ(e.error().code, Errc::invalid_argument);
    EXPECT_TRUE(e.error().message.starts_with("l2.url: ")) << e.error().message;
    EXPECT_EQ(e.error().message.find("hunter2"), std::string::npos);
    EXPECT_FALSE(o.validate().ok());
  }
}

TEST(Url, OptionsOverrideItsUserAndPassword) {
  Options o;
  o.url = "redis://u:p@h";
  o.password = "other";
  EXPECT_EQ(parse_endpoint(o)->username, "u");
  EXPECT_EQ(parse_endpoint(o)->password, "other");
  o.username = "somebody";
  EXPECT_EQ(parse_endpoint(o)->username, "somebody");
  o.url = "redis://h";
  o.password.clear();
  EXPECT_TRUE(parse_endpoint(o).error().message.starts_with("l2.username: "));
}

TEST(Url, ThePeerIsWithoutSecretsAndUnambiguous) {
  Options o;
  o.url = "redis://u:hunter2@[::1]:7/1";
  EXPECT_EQ(parse_endpoint(o)->peer(), "[::1]:7");
  o.url = "redis://u:hunter2@cache.local";
  EXPECT_EQ(parse_endpoint(o)->peer(), "cache.local:6379");
}

TEST(Options, TheFirstBadFieldIsNamed) {
  using namespace std::chrono_literals;
  const auto complaint = [](auto change) {
    Options o;
    change(o);
    const auto r = o.validate();
    return r.ok() ? std::string("ok") : r.error().message.substr(0, r.error().message.find(':'));
  };
  EXPECT_EQ(complaint([](Options&) {}), "ok");
  EXPECT_EQ(complaint([](Options& o) { o.url = "x"; }), "l2.url");
  EXPECT_EQ(complaint([](Options& o) { o.client_name = "a b"; }), "l2.client_name");
  EXPECT_EQ(complaint([](Options& o) { o.pool_size = 0; }), "l2.pool_size");
  EXPECT_EQ(complaint([](Options& o) { o.pool_size = 257; }), "l2.pool_size");
  EXPECT_EQ(complaint([](Options& o) { o.connect_timeout = 0ms; }), "l2.connect_timeout");
  EXPECT_EQ(complaint([](Options& o) { o.call_timeout = -1ms; }), "l2.call_timeout");
  EXPECT_EQ(complaint([](Options& o) { o.backoff_min = 0ms; }), "l2.backoff_min");
  EXPECT_EQ(complaint([](Options& o) { o.backoff_max = 1ms; }), "l2.backoff_max");
  EXPECT_EQ(complaint([](Options& o) { o.shards = 16385; }), "l2.shards");
  EXPECT_EQ(complaint([](Options& o) { o.max_reply_bytes = 1023; }), "l2.max_reply_bytes");
  EXPECT_EQ(complaint([](Options& o) { o.max_reply_elements = 15; }), "l2.max_reply_elements");
}

TEST(Options, TheKillSwitchWorksWhateverTheRestSays) {
  Options o;
  o.enabled = false;
  o.url = "nonsense";
  EXPECT_TRUE(o.validate().ok());
}

TEST(Sha1, MatchesTheStandardsExamples) {
  EXPECT_EQ(sha1_hex(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(sha1_hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha1_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(sha1_hex(std::string(1'000'000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

}  // namespace
}  // namespace tiercache::l2
