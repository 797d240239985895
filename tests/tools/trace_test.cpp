// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include "temp_folder.hpp"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <string>
#include <vector>

namespace tiercache::tools {
namespace {

using demo::TestFolder;

using Numbers = std::vector<std::uint32_t>;

std::string gzip(const std::string& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  EXPECT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())), static_cast<int>(bytes.size()));
  EXPECT_EQ(gzclose(file), Z_OK);
  return path;
}

std::string zstd(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t n = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3);
  EXPECT_EQ(ZSTD_isError(n), 0U);
  out.resize(n);
  return out;
}

std::string oracle_record(std::uint64_t key, std::uint32_t size) {
  std::string r;
  const auto put = [&r](std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) r += static_cast<char>(v >> (8 * i));
  };
  put(1, 4);
  put(key, 8);
  put(size, 4);
  put(~0ULL, 8);
  return r;
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void expect_error(const std::string& path, const std::string& why) {
  const Result<Trace> trace = read_trace(path);
  ASSERT_FALSE(trace.ok()) << path;
  EXPECT_TRUE(trace.error().message.starts_with(path + ":")) << trace.error().message;
  EXPECT_NE(trace.error().message.find(why), std::string::npos) << trace.error().message;
}

TEST(Trace, KeysAreNumberedInTheOrderOfTheirFirstRequest) {
  const TestFolder folder;
  const std::string text = "user 9\nb\nuser 9\n\xc3\xa4\nb\nuser 9\n";
  for (const std::string& path :
       {folder.write("t.keys", text), gzip(folder.file("t.keys.gz"), text), folder.write("t.keys.zst", zstd(text)),
        folder.write("u.keys", text.substr(0, text.size() - 1))}) {
    Result<Trace> trace = read_trace(path);
    ASSERT_TRUE(trace.ok()) << trace.error().message;
    EXPECT_EQ(trace->requests, (Numbers{0, 1, 0, 2, 1, 0}));
    EXPECT_EQ(trace->unique_keys, 3U);
    EXPECT_TRUE(trace->sizes.empty());
    EXPECT_DOUBLE_EQ(trace->bound(), 0.5);
  }
}

TEST(Trace, LisLinesAreRangesOfKeys) {
  const TestFolder folder;
  const std::string text = "10 3 0 0\n11 1 0 1\n18446744073709551615 1 0 2\n5 0 0 3\n10 1 0 4\n";
  for (const std::string& path :
       {folder.write("t.lis", text), gzip(folder.file("t.lis.gz"), text), folder.write("t.lis.zst", zstd(text))}) {
    Result<Trace> trace = read_trace(path);
    ASSERT_TRUE(trace.ok()) << trace.error().message;
    EXPECT_EQ(trace->requests, (Numbers{0, 1, 2, 1, 3, 0}));
    EXPECT_EQ(trace->unique_keys, 4U);
  }
}

TEST(Trace, OracleRecordsCarrySizes) {
  const TestFolder folder;
  const std::string bytes = oracle_record(1ULL << 60, 512) + oracle_record(7, 4096) + oracle_record(1ULL << 60, 1024);
  for (const std::string& path : {folder.write("t.oracleGeneral.bin", bytes), gzip(folder.file("t.oracleGeneral.bin.gz"), bytes),
                                  folder.write("t.oracleGeneral.bin.zst", zstd(bytes))}) {
    Result<Trace> trace = read_trace(path);
    ASSERT_TRUE(trace.ok()) << trace.error().message;
    EXPECT_EQ(trace->requests, (Numbers{0, 1, 0}));
    EXPECT_EQ(trace->sizes, (Numbers{512, 4096})) << "as the first request says";
  }
}

TEST(Trace, LongTracesCrossTheReadBuffers) {
  const TestFolder folder;
  std::string text;
  std::string bytes;
  constexpr std::uint32_t n = 200'000;
  for (std::uint32_t i = 0; i < n; ++i) {
    text += std::to_string(i % 50'000) + "\n";
    bytes += oracle_record(i % 50'000, i % 50'000);
  }
  for (const std::string& path : {folder.write("t.keys.zst", zstd(text)), gzip(folder.file("t.keys.gz"), text),
                                  folder.write("t.oracleGeneral.bin.zst", zstd(bytes))}) {
    Result<Trace> trace = read_trace(path);
    ASSERT_TRUE(trace.ok()) << trace.error().message;
    ASSERT_EQ(trace->requests.size(), n);
    EXPECT_EQ(trace->unique_keys, 50'000U);
    for (std::uint32_t i = 0; i < n; ++i) ASSERT_EQ(trace->requests[i], i % 50'000) << path;
  }
}

TEST(Trace, SeveralCompressedFramesAreOneTrace) {
  const TestFolder folder;
  Result<Trace> trace = read_trace(folder.write("t.keys.zst", zstd("a\nb\n") + zstd("c\n")));
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  EXPECT_EQ(trace->requests, (Numbers{0, 1, 2}));
}

TEST(Trace, ATruncatedFileIsAnErrorThatNamesTheFileAndTheRecord) {
  const TestFolder folder;
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i * 7919LL) + "\n";
  const std::string gz = slurp(gzip(folder.file("whole.keys.gz"), text));
  expect_error(folder.write("t.keys.gz", gz.substr(0, gz.size() / 2)), "truncated (after record ");
  const std::string zst = zstd(text);
  expect_error(folder.write("t.keys.zst", zst.substr(0, zst.size() / 2)), "truncated (after record ");
  expect_error(folder.write("t.oracleGeneral.bin", oracle_record(1, 1) + oracle_record(2, 1).substr(0, 10)),
               "record 2: cut short: 10 of 24 bytes");
}

TEST(Trace, AFileThatIsNotWhatItsNameSaysIsAnError) {
  const TestFolder folder;
  expect_error(folder.write("t.keys.gz", "1\n2\n3\n"), "not gzip");
  expect_error(folder.write("t.keys.zst", "1\n2\n3\n"), "");
  std::string flipped = slurp(gzip(folder.file("whole.keys.gz"), std::string(10'000, 'x') + "\n"));
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);
  expect_error(folder.write("crc.keys.gz", flipped), "");
  expect_error(folder.write("t.csv", "1\n"), "not a trace by its name");
  expect_error(folder.file("absent.keys"), "No such file");
}

TEST(Trace, ABadRecordIsNamedByItsNumber) {
  const TestFolder folder;
  expect_error(folder.write("a.lis", "1 2 0 0\n1 x 0 0\n"), "record 2: not \"first count");
  expect_error(folder.write("b.lis", "7\n"), "record 1: not");
  expect_error(folder.write("c.lis", "-1 1 0 0\n"), "record 1: not");
  expect_error(folder.write("d.lis", "18446744073709551615 2 0 0\n"), "record 1: keys past 2^64");
  expect_error(folder.write("e.lis", "1 99999999999 0 0\n"), "record 1: more than 500 million");
  expect_error(folder.write("f.keys", "1\n\n2\n"), "record 2: empty key");
  expect_error(folder.write("g.keys", "1\n" + std::string(5000, 'x')), "record 2: longer than 4096");
  expect_error(folder.write("h.keys", ""), "holds no request");
  expect_error(folder.write("i.keys.zst", zstd("")), "holds no request");
  expect_error(folder.write("j.keys.zst", ""), "truncated");
  expect_error(folder.write("k.keys.gz", ""), "");
}

TEST(Trace, IsKnownByItsEndings) {
  EXPECT_EQ(trace_name("a/b.c/shop.keys.gz"), "shop");
  EXPECT_EQ(trace_name("shop.v2.lis"), "shop.v2");
  EXPECT_EQ(trace_name("disk.oracleGeneral.bin.zst"), "disk");
  EXPECT_EQ(trace_name("README.md"), std::nullopt);
  EXPECT_EQ(trace_name("shop.keys.xz"), std::nullopt);
  EXPECT_EQ(trace_name("a/.keys"), std::nullopt);
}

}  // namespace
}  // namespace tiercache::tools
