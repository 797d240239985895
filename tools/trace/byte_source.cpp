// SPDX-License-Identifier: Apache-2.0
#include "byte_source.hpp"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace tiercache::tools {
namespace {

Error bad(const std::string& path, const std::string& why) { return {Errc::bad_data, path + ": " + why}; }

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

class PlainSource final : public ByteSource {
 public:
  PlainSource(std::string path, File file) : path_(std::move(path)), file_(std::move(file)) {}
  Result<std::size_t> read(std::span<char> out) override {
    const std::size_t n = std::fread(out.data(), 1, out.size(), file_.get());
    if (n < out.size() && std::ferror(file_.get()) != 0) return bad(path_, std::strerror(errno));
    return n;
  }

 private:
  std::string path_;
  File file_;
};

class GzipSource final : public ByteSource {
 public:
  GzipSource(std::string path, gzFile file) : path_(std::move(path)), file_(file) { gzbuffer(file, 1U << 18); }
  ~GzipSource() override { gzclose(file_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  Result<std::size_t> read(std::span<char> out) override {
    std::size_t done = 0;
    while (done < out.size()) {
      const std::size_t want = std::min<std::size_t>(out.size() - done, std::numeric_limits<int>::max());
      const int n = gzread(file_, out.data() + done, static_cast<unsigned>(want));
      // zlib hands bytes without a gzip header through as they are.
      if (n > 0 && gzdirect(file_) != 0) return bad(path_, "is not gzip data");
      int code = Z_OK;
      const char* const text = gzerror(file_, &code);
      if (n < 0 || code != Z_OK) return bad(path_, code == Z_BUF_ERROR ? "is truncated" : text);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

 private:
  std::string path_;
  gzFile file_;
};

class ZstdSource final : public ByteSource {
 public:
  ZstdSource(std::string path, File file)
      : path_(std::move(path)), file_(std::move(file)), stream_(ZSTD_createDStream()), buffer_(ZSTD_DStreamInSize()) {}

  Result<std::size_t> read(std::span<char> out) override {
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (to.pos < to.size) {
      if (from_.pos == from_.size) {
        from_ = {buffer_.data(), std::fread(buffer_.data(), 1, buffer_.size(), file_.get()), 0};
        if (std::ferror(file_.get()) != 0) return bad(path_, std::strerror(errno));
        at_end_ = from_.size == 0;
      }
      const std::size_t before = to.pos;
      const std::size_t hint = ZSTD_decompressStream(stream_.get(), &to, &from_);
      if (ZSTD_isError(hint) != 0) return bad(path_, ZSTD_getErrorName(hint));
      if (at_end_ && to.pos == before) {
        if (frame_open_) return bad(path_, "is truncated");
        break;
      }
      if (!at_end_) frame_open_ = hint != 0;
    }
    return to.pos;
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* s) const noexcept { ZSTD_freeDStream(s); }
  };
  std::string path_;
  File file_;
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  std::vector<char> buffer_;
  ZSTD_inBuffer from_{nullptr, 0, 0};
  bool frame_open_ = true;  // an empty file is no frame at all
  bool at_end_ = false;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path) {
  if (path.ends_with(".gz")) {
    gzFile gz = gzopen(path.c_str(), "rbe");
    if (gz == nullptr) return bad(path, std::strerror(errno));
    return std::unique_ptr<ByteSource>(std::make_unique<GzipSource>(path, gz));
  }
  File file(std::fopen(path.c_str(), "rbe"));
  if (!file) return bad(path, std::strerror(errno));
  if (path.ends_with(".zst")) return std::unique_ptr<ByteSource>(std::make_unique<ZstdSource>(path, std::move(file)));
  return std::unique_ptr<ByteSource>(std::make_unique<PlainSource>(path, std::move(file)));
}

}  // namespace tiercache::tools
