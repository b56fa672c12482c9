/* fuaio.aio._once: one request of one buffer, from Python to C and back, with nothing in between.
 *
 * The rest of the binding is cffi's. There a buffer becomes an object of its own and each argument
 * is looked at in a general way, which takes a third of the time that a durable write to memory
 * does. These functions do what cffi would for fuaio_request_once and fuaio_loop_begin, and no
 * more; both are called by address, so that there is one copy of the core. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "engine.h"

struct fuaio_queue;
struct fuaio_request;

/* As core.cdef declares them. Set once, before anybody calls. */
static int64_t (*request_once)(struct fuaio_queue *queue, int op, int fua, int64_t offset, void *memory,
			       size_t length, struct fuaio_request **kept);
static int64_t (*loop_begin)(struct fuaio_queue *queue, int op, int fua, int64_t offset, void *memory,
			     size_t length, uint64_t tag, int now);

/* What is asked for, by the first arguments of both. */
struct asked {
	struct fuaio_queue *queue;
	int op, fua;
	int64_t offset;
	bool has_data;
	Py_buffer data;
};

enum argument { QUEUE, OP, FUA, OFFSET, DATA, FIRST_OF_ITS_OWN };

/* False: an exception is set, and nothing is exported. */
static bool take(struct asked *asked, PyObject *const *args, Py_ssize_t count, Py_ssize_t wanted)
{
	int beyond;

	if (count != wanted) {
		PyErr_Format(PyExc_TypeError, "%zd arguments are wanted, not %zd", wanted, count);
		return false;
	}
	asked->queue = PyLong_AsVoidPtr(args[QUEUE]);
	asked->op = (int)PyLong_AsLong(args[OP]);
	asked->fua = PyObject_IsTrue(args[FUA]);
	/* One that is too far below zero is -1, and negative all the same. */
	asked->offset = PyLong_AsLongLongAndOverflow(args[OFFSET], &beyond);
	if (beyond > 0)
		PyErr_SetString(PyExc_OverflowError, "the offset does not fit 64 bits");
	if (PyErr_Occurred())
		return false;
	memset(&asked->data, 0, sizeof(asked->data));
	asked->has_data = asked->op == FUAIO_READ || asked->op == FUAIO_WRITE; /* a flush has none */
	return !asked->has_data || PyObject_GetBuffer(args[DATA], &asked->data,
						      asked->op == FUAIO_READ ? PyBUF_WRITABLE : PyBUF_SIMPLE) == 0;
}

/* With a wrong offset it is a wrong request. */
static bool is_nothing_to_do(const struct asked *asked)
{
	return asked->has_data && !asked->data.len && asked->offset >= 0;
}

static void let_go(PyObject *capsule)
{
	Py_buffer *data = PyCapsule_GetPointer(capsule, NULL);

	PyBuffer_Release(data);
	PyMem_Free(data);
}

/* The kernel may still use the memory, so that it stays exported as long as what is returned lives: by this
 * very export, since another one of the same object may be of other memory. It is stored before any
 * Python, a signal handler too, can run. NULL: no memory for it, and nobody ever lets go. */
static PyObject *hold(const Py_buffer *data)
{
	Py_buffer *kept = PyMem_Malloc(sizeof(*kept));

	if (!kept)
		return NULL;
	*kept = *data;
	return PyCapsule_New(kept, NULL, let_go);
}

/* `stored`: something else refers to the capsule now. */
static void forget(PyObject *capsule, bool stored)
{
	if (capsule && stored)
		Py_DECREF(capsule);
	PyErr_Clear();
}

static PyObject *once(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	enum { PLACE = FIRST_OF_ITS_OWN, CALL, ARGUMENTS };
	struct fuaio_request **place;
	struct asked asked;
	int64_t done;

	(void)module;
	if (!take(&asked, args, count, ARGUMENTS))
		return NULL;
	place = PyLong_AsVoidPtr(args[PLACE]);
	if (!place || is_nothing_to_do(&asked)) {
		PyBuffer_Release(&asked.data);
		return place ? Py_NewRef(Py_None) : NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	done = request_once(asked.queue, asked.op, asked.fua, asked.offset, asked.data.buf,
			    (size_t)asked.data.len, place);
	Py_END_ALLOW_THREADS
	if (done < 0 && *place) {
		PyObject *held = hold(&asked.data);

		forget(held, held && PyObject_SetAttrString(args[CALL], "kept", held) == 0);
	} else {
		PyBuffer_Release(&asked.data);
	}
	return PyLong_FromLongLong(done);
}

static PyObject *begin(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	enum { TAG = FIRST_OF_ITS_OWN, NOW, HELD, ARGUMENTS };
	struct asked asked;
	uint64_t tag;
	int64_t done;
	int now;

	(void)module;
	if (!take(&asked, args, count, ARGUMENTS))
		return NULL;
	tag = PyLong_AsUnsignedLongLong(args[TAG]);
	now = PyObject_IsTrue(args[NOW]);
	if (PyErr_Occurred() || is_nothing_to_do(&asked)) {
		PyBuffer_Release(&asked.data);
		return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
	}
	Py_BEGIN_ALLOW_THREADS
	done = loop_begin(asked.queue, asked.op, asked.fua, asked.offset, asked.data.buf, (size_t)asked.data.len,
			  tag, now);
	Py_END_ALLOW_THREADS
	if (asked.has_data && (done == -EINPROGRESS || done == -EALREADY)) {
		PyObject *held = hold(&asked.data);

		forget(held, held && PyObject_SetItem(args[HELD], args[TAG], held) == 0);
	} else {
		PyBuffer_Release(&asked.data);
	}
	return PyLong_FromLongLong(done);
}

static void *function_at(PyObject *address)
{
	void *number = PyLong_AsVoidPtr(address);

	if (!number && !PyErr_Occurred())
		PyErr_SetString(PyExc_ValueError, "no address of a function");
	return number;
}

static PyObject *bind(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	void *once_at, *begin_at;

	(void)module;
	if (count != 2)
		return PyErr_Format(PyExc_TypeError, "2 arguments are wanted, not %zd", count);
	once_at = function_at(args[0]);
	begin_at = once_at ? function_at(args[1]) : NULL;
	if (!begin_at)
		return NULL;
	/* C has no cast from the one kind to the other. */
	memcpy(&request_once, &once_at, sizeof(once_at));
	memcpy(&loop_begin, &begin_at, sizeof(begin_at));
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{ "bind", (PyCFunction)(void (*)(void))bind, METH_FASTCALL,
	  "bind(once, begin): the addresses of fuaio_request_once and fuaio_loop_begin." },
	{ "once", (PyCFunction)(void (*)(void))once, METH_FASTCALL,
	  "once(queue, op, fua, offset, data, place, call): its answer; None for empty data." },
	{ "begin", (PyCFunction)(void (*)(void))begin, METH_FASTCALL,
	  "begin(queue, op, fua, offset, data, tag, now, held): its answer; None for empty data." },
	{ 0 },
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
	{ Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
	{ 0 },
};

static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_once",
	.m_methods = methods,
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__once(void);

PyMODINIT_FUNC PyInit__once(void)
{
	return PyModuleDef_Init(&module);
}
