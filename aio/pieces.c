/* fuaio.aio._pieces: the buffers of a batch, exported, and all else that C reads and writes for it.
 * The collector of garbage does not see it: what the kernel may use is no garbage.
 *
 * By cffi each buffer becomes an object and each array another one, which takes as long as a
 * third of the writes of a small batch. Here all of it is one object, and one piece of memory. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>

#include "queue.h"

struct export {
	PyObject_HEAD
	struct fuaio_pieces pieces;
	struct fuaio_outcome *outcomes; /* one for each request */
	Py_buffer *data;
	Py_ssize_t exported; /* the first so many of data */
	Py_buffer latencies;
	/* What Python sees. */
	Py_ssize_t count, length;
	unsigned long long pieces_at, outcomes_at;
};

/* One array after the other in one piece, each a multiple of eight bytes; zero. It begins with `data`. */
static bool make_arrays(struct export *it, size_t count, size_t buffers)
{
	const size_t each = sizeof(int64_t) + sizeof(struct fuaio_outcome);
	const size_t each_buffer = sizeof(Py_buffer) + sizeof(void *) + sizeof(size_t);
	char *at = NULL;

	if (count < PY_SSIZE_T_MAX / (2 * each) && buffers < PY_SSIZE_T_MAX / (2 * each_buffer))
		at = PyMem_Calloc(1, count * each + buffers * each_buffer);
	if (!at) {
		PyErr_NoMemory();
		return false;
	}
	it->data = (void *)at;
	it->outcomes = (void *)(at += buffers * sizeof(Py_buffer));
	it->pieces.offsets = (void *)(at += count * sizeof(struct fuaio_outcome));
	it->pieces.buffers = (void *)(at += count * sizeof(int64_t));
	it->pieces.lengths = (void *)(at + buffers * sizeof(void *));
	return true;
}

static bool copy_offsets(struct export *it, PyObject *offsets, size_t buffers)
{
	Py_buffer numbers;
	bool made;

	if (PyObject_GetBuffer(offsets, &numbers, PyBUF_SIMPLE) < 0)
		return false;
	it->count = numbers.len / (Py_ssize_t)sizeof(int64_t);
	it->pieces.count = (uint64_t)it->count;
	made = make_arrays(it, (size_t)it->count, buffers);
	/* A copy: they are looked at before the first request, so they must not change later. */
	if (made)
		memcpy((void *)(uintptr_t)it->pieces.offsets, numbers.buf, (size_t)it->count * sizeof(int64_t));
	PyBuffer_Release(&numbers);
	return made;
}

static bool add(struct export *it, PyObject *buffer, bool writable)
{
	void **places = (void **)(uintptr_t)it->pieces.buffers;
	size_t *lengths = (size_t *)(uintptr_t)it->pieces.lengths;
	Py_buffer *data = &it->data[it->exported];

	if (PyObject_GetBuffer(buffer, data, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
		return false;
	places[it->exported] = data->buf;
	lengths[it->exported++] = (size_t)data->len;
	it->length += data->len;
	return true;
}

static void release_data(struct export *it)
{
	/* What is released may run Python, which may come here again. */
	while (it->exported)
		PyBuffer_Release(&it->data[--it->exported]);
}

static void dealloc(PyObject *self)
{
	struct export *it = (struct export *)self;
	PyTypeObject *type = Py_TYPE(self);

	release_data(it);
	PyBuffer_Release(&it->latencies); /* nothing, where there are none */
	PyMem_Free(it->data);
	PyObject_Free(self);
	Py_DECREF(type);
}

static PyObject *release(PyObject *self, PyObject *unused)
{
	(void)unused;
	release_data((struct export *)self);
	Py_RETURN_NONE;
}

static PyObject *release_latencies(PyObject *self, PyObject *unused)
{
	struct export *it = (struct export *)self;
	Py_buffer released = it->latencies;

	(void)unused;
	/* First, since what is released may run Python, which may come here again. */
	memset(&it->latencies, 0, sizeof(it->latencies));
	PyBuffer_Release(&released); /* nothing, where there are none */
	Py_RETURN_NONE;
}

/* `several`: a list or tuple; else it is one buffer, which is cut into as many pieces as there are offsets. */
static bool fill(struct export *it, PyObject *offsets, PyObject *several, PyObject *buffers, bool writable)
{
	Py_ssize_t count = several ? PyTuple_Size(several) : 1;

	if (count < 0 || !copy_offsets(it, offsets, (size_t)count))
		return false;
	if (!several)
		return add(it, buffers, writable);
	/* Of what was copied: another thread may have changed the rest by now, and a list may lie. */
	if (it->count != count) {
		PyErr_Format(PyExc_ValueError, "%zd offsets and %zd buffers: one of each for a request", it->count,
			     count);
		return false;
	}
	for (Py_ssize_t i = 0; i < count; i++) {
		PyObject *buffer = PyTuple_GetItem(several, i);

		if (!buffer || !add(it, buffer, writable))
			return false;
	}
	return true;
}

static bool add_latencies(struct export *it, PyObject *latencies)
{
	if (latencies == Py_None)
		return true;
	if (PyObject_GetBuffer(latencies, &it->latencies, PyBUF_WRITABLE) < 0)
		return false;
	if (it->latencies.len == it->count * (Py_ssize_t)sizeof(uint64_t))
		return true;
	PyErr_Format(PyExc_ValueError, "latencies: %zd bytes for %zd requests: eight for each", it->latencies.len,
		     it->count);
	return false;
}

static PyObject *export(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	enum { OFFSETS, BUFFERS, WRITABLE, LATENCIES, ARGUMENTS };
	PyTypeObject *type = *(PyTypeObject **)PyModule_GetState(module);
	PyObject *several = NULL;
	struct export *it;
	int writable;

	if (count != ARGUMENTS)
		return PyErr_Format(PyExc_TypeError, "%d arguments are wanted, not %zd", ARGUMENTS, count);
	writable = PyObject_IsTrue(args[WRITABLE]);
	if (writable < 0)
		return NULL;
	it = PyObject_New(struct export, type);
	if (!it)
		return NULL;
	memset((char *)it + sizeof(PyObject), 0, sizeof(*it) - sizeof(PyObject));
	if (PyList_Check(args[BUFFERS]) || PyTuple_Check(args[BUFFERS]))
		several = PySequence_Tuple(args[BUFFERS]); /* that nobody changes meanwhile */
	if ((!several && PyErr_Occurred()) || !fill(it, args[OFFSETS], several, args[BUFFERS], writable) ||
	    !add_latencies(it, args[LATENCIES])) {
		Py_XDECREF(several);
		Py_DECREF(it);
		return NULL;
	}
	if (!several && it->count)
		it->pieces.block = (size_t)(it->length / it->count);
	it->pieces.latencies = it->latencies.buf;
	it->pieces_at = (uintptr_t)&it->pieces;
	it->outcomes_at = (uintptr_t)it->outcomes;
	Py_XDECREF(several);
	return (PyObject *)it;
}

static PyMemberDef members[] = {
	{ "count", T_PYSSIZET, offsetof(struct export, count), READONLY, "how many requests" },
	{ "length", T_PYSSIZET, offsetof(struct export, length), READONLY, "bytes of all buffers" },
	{ "pieces_at", T_ULONGLONG, offsetof(struct export, pieces_at), READONLY, "struct fuaio_pieces" },
	{ "outcomes_at", T_ULONGLONG, offsetof(struct export, outcomes_at), READONLY, "struct fuaio_outcome[]" },
	{ 0 },
};

static PyMethodDef methods_of_export[] = {
	{ "release", release, METH_NOARGS, "End the exports of the buffers." },
	{ "release_latencies", release_latencies, METH_NOARGS, "End that of the latencies." },
	{ 0 },
};

static PyType_Slot slots_of_export[] = {
	{ Py_tp_dealloc, (void *)dealloc },
	{ Py_tp_members, members },
	{ Py_tp_methods, methods_of_export },
	{ 0 },
};

static PyType_Spec spec = {
	.name = "fuaio.aio._pieces.Export",
	.basicsize = sizeof(struct export),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = slots_of_export,
};

static PyMethodDef methods[] = {
	{ "export", (PyCFunction)(void (*)(void))export, METH_FASTCALL,
	  "export(offsets, buffers, writable, latencies): an Export." },
	{ 0 },
};

static int make_type(PyObject *module)
{
	PyObject *type = PyType_FromSpec(&spec);

	*(PyObject **)PyModule_GetState(module) = type;
	return type ? PyModule_AddObjectRef(module, "Export", type) : -1;
}

static void free_type(void *module)
{
	Py_CLEAR(*(PyObject **)PyModule_GetState(module));
}

static PyModuleDef_Slot slots[] = {
	{ Py_mod_exec, (void *)make_type },
#ifdef Py_GIL_DISABLED
	{ Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
	{ 0 },
};

static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_pieces",
	.m_size = sizeof(PyObject *),
	.m_methods = methods,
	.m_slots = slots,
	.m_free = free_type,
};

PyMODINIT_FUNC PyInit__pieces(void);

PyMODINIT_FUNC PyInit__pieces(void)
{
	return PyModuleDef_Init(&module);
}
