# Copyright 2026 the fuaio authors
# Distributed under the terms of the MIT License

# docs/packaging.md tells what of it was tried, and where.
EAPI=8

DISTUTILS_EXT=1
DISTUTILS_USE_PEP517=meson-python
PYTHON_COMPAT=( python3_{11..14} )

inherit distutils-r1 pypi

DESCRIPTION="Durable writes with FUA over io_uring, Linux AIO and threads"
# The page of whoever publishes it.
HOMEPAGE="https://fuaio.example/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="~amd64 ~arm64"
IUSE="+aio +io-uring"

DEPEND="
	aio? ( dev-libs/libaio )
	io-uring? ( >=sys-libs/liburing-2.2:= )
"
RDEPEND="
	${DEPEND}
	>=dev-python/cffi-1.17[${PYTHON_USEDEP}]
	>=dev-python/click-8.1.8[${PYTHON_USEDEP}]
	>=dev-python/msgspec-0.19[${PYTHON_USEDEP}]
	>=dev-python/packaging-25.0[${PYTHON_USEDEP}]
"
BDEPEND="
	>=dev-python/cffi-1.17[${PYTHON_USEDEP}]
	virtual/pkgconfig
	test? (
		dev-python/hypothesis[${PYTHON_USEDEP}]
		dev-python/pytest-timeout[${PYTHON_USEDEP}]
	)
"

distutils_enable_tests pytest

# What a USE flag asks for has to be there with its helper, or the build fails.
python_configure_all() {
	local required=()
	use aio && required+=( libaio )
	use io-uring && required+=( liburing )
	DISTUTILS_ARGS=(
		$(meson_feature aio libaio)
		$(meson_feature io-uring liburing)
		"-Drequire_fua=$(IFS=,; echo "${required[*]}")"
	)
}

python_test() {
	epytest tests/aio tests/probe tests/cli
}
